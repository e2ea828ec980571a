package cli

import (
	"bufio"

	"github.com/inconshreveable/mousetrap"

	"github.com/fumibako-mail/fumibako/cmd/internal/phrase"
)

// farewell keeps the window open until it has been read, if the program was
// started with a double click: the window ends with the program.
func (a *app) farewell() {
	if !mousetrap.StartedByExplorer() || !onTerminal(a.In) {
		return
	}
	a.tell(phrase.PressEnter)
	_, _ = bufio.NewReader(a.In).ReadString('\n')
}
