//go:build integration

package integration

import (
	"fmt"
	"strings"
)

// config is the configuration for the options, in the language of the
// installed version.
func (d *dovecot) config() string {
	text := config23
	uidl, layout := "%08Xu%08Xv", ""
	if d.options.otherUIDL {
		uidl = "%g"
	}
	if d.options.layoutFS {
		layout = ":LAYOUT=fs"
	}
	if d.new {
		text = config24
		uidl, layout = "%{uid | hex(8)}%{uidvalidity | hex(8)}", "maildir++"
		if d.options.otherUIDL {
			uidl = "%{guid}"
		}
		if d.options.layoutFS {
			layout = "fs"
		}
	}
	ssl := "yes"
	if d.options.noSSL {
		ssl = "no"
	}
	return strings.NewReplacer("@DIR@", d.dir, "@LAYOUT@", layout, "@UIDL@", uidl, "@SSL@", ssl, "@PASSWORD@", password,
		"@IMAP@", fmt.Sprint(d.imap), "@POP3@", fmt.Sprint(d.pop3),
		"@IMAPS@", fmt.Sprint(d.imaps), "@POP3S@", fmt.Sprint(d.pop3s),
		"@UID@", fmt.Sprint(mailUID), "@GID@", fmt.Sprint(mailGID)).Replace(text + configBoth)
}

const config23 = `ssl_cert = <@DIR@/cert.pem
ssl_key = <@DIR@/key.pem
disable_plaintext_auth = no
mail_location = maildir:@DIR@/mail/%u@LAYOUT@
passdb {
  driver = static
  args = password=@PASSWORD@
}
userdb {
  driver = static
  args = uid=@UID@ gid=@GID@ home=@DIR@/mail/%u
}
`

const config24 = `dovecot_config_version = 2.4.0
dovecot_storage_version = 2.4.0
ssl_server_cert_file = @DIR@/cert.pem
ssl_server_key_file = @DIR@/key.pem
auth_allow_cleartext = yes
mail_driver = maildir
mail_path = @DIR@/mail/%{user}
mailbox_list_layout = @LAYOUT@
passdb static {
  password = @PASSWORD@
}
userdb static {
  fields {
    uid = @UID@
    gid = @GID@
    home = @DIR@/mail/%{user}
  }
}
`

const configBoth = `base_dir = @DIR@/run
state_dir = @DIR@/state
instance_name = fumibako-@IMAP@
protocols = imap pop3
listen = 127.0.0.1
log_path = @DIR@/log
ssl = @SSL@
auth_mechanisms = plain login
auth_failure_delay = 0
first_valid_uid = 1
mail_uid = @UID@
mail_gid = @GID@
mail_fsync = never
mail_max_userip_connections = 200
default_client_limit = 2000
pop3_uidl_format = @UIDL@
namespace inbox {
  inbox = yes
  mailbox Drafts {
    special_use = \Drafts
  }
  mailbox Sent {
    special_use = \Sent
  }
  mailbox Trash {
    special_use = \Trash
  }
}
service imap-login {
  process_min_avail = 1
  inet_listener imap {
    port = @IMAP@
  }
  inet_listener imaps {
    port = @IMAPS@
    ssl = @SSL@
  }
}
service pop3-login {
  process_min_avail = 1
  inet_listener pop3 {
    port = @POP3@
  }
  inet_listener pop3s {
    port = @POP3S@
    ssl = @SSL@
  }
}
service stats {
  client_limit = 1000
}
`
