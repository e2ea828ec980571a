// Command fumibako brings the mail of POP3 and IMAP accounts into one local
// archive and proves what it holds.
package main

func main() {}
