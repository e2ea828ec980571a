package cli

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/fumibako-mail/fumibako/cmd/internal/phrase"
	"github.com/fumibako-mail/fumibako/cmd/internal/report"
)

// Version is the version of the program. A release sets it with
// -ldflags "-X github.com/fumibako-mail/fumibako/cmd/internal/cli.Version=1.2.3";
// otherwise it is what the build knows about itself.
var Version string

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:  "version",
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			v, revision := versionOf(debug.ReadBuildInfo())
			if a.opts.json {
				return report.Encode(a.Out, map[string]any{
					"version": report.Version, "command": "version", "program": v, "revision": revision,
					"go": runtime.Version(), "system": runtime.GOOS + "/" + runtime.GOARCH,
				})
			}
			return a.show(a.p.Text(phrase.VersionLine, phrase.Args{
				"Version": v, "Revision": revision, "Go": runtime.Version(), "System": runtime.GOOS + "/" + runtime.GOARCH,
			}) + "\n")
		},
	}
}

func versionOf(b *debug.BuildInfo, ok bool) (version, revision string) {
	version = Version
	if ok {
		if version == "" {
			version = b.Main.Version
		}
		for _, s := range b.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				revision = s.Value[:12]
			}
		}
	}
	if version == "" {
		version = "(devel)"
	}
	return version, revision
}
