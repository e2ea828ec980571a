// Command fumibako brings the mail of POP3 and IMAP accounts into one local
// archive and proves what it holds.
package main

import (
	"os"

	"github.com/fumibako-mail/fumibako/cmd/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], cli.Stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}
