"""Prints the SHA-256 of each message's canonical form, as Python's mailbox module finds them."""
import email, hashlib, mailbox, re, sys
kind, path = sys.argv[1:]
if kind == "mbox":
    box = mailbox.mbox(path, create=False)
else:
    box = mailbox.Maildir(path, create=False)
for key in box.iterkeys():
    octets = box.get_bytes(key)
    email.message_from_bytes(octets)
    if kind == "mbox":
        octets = re.sub(rb"(?m)^>(>*From )", rb"\1", octets)
    octets = re.sub(rb"\r*\n", b"\r\n", octets)
    while octets.endswith(b"\r\n"):
        octets = octets[:-2]
    print(hashlib.sha256(octets.replace(b"\0", b"\x80")).hexdigest())
