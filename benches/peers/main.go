// Command peers does with the Go libraries what gitops-rs does in Rust: it judges (what does the Go ecosystem make of this
// input?) and it is measured (how long does it take?). One subcommand per job; answers are JSON on standard output, errors go to
// standard error with exit status 1.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"sort"
)

// job is one subcommand.
type job struct {
	usage string
	run   func(args []string) error
}

var jobs = map[string]job{
	"yaml-judge":    {"yaml-judge read|multi [FILE]", yamlJudge},
	"yaml-parse":    {"yaml-parse FILE ROUNDS", yamlParse},
	"apply":         {"apply --kubeconfig FILE --manifests PATH --concurrency N [--expect create|noop|change]", apply},
	"argocd-decode": {"argocd-decode FILE ROUNDS", argocdDecode},
	"argocd-list":   {"argocd-list --url URL --rounds N [--projected]", argocdList},
	"diff":          {"diff FILE ROUNDS", diffPairs},
	"flux-decode":   {"flux-decode FILE ROUNDS", fluxDecode},
	"flux-list":     {"flux-list --kubeconfig FILE --rounds N [--page N] [--gzip]", fluxList},
	"health":        {"health (one path per line on standard input)", health},
}

func main() {
	if len(os.Args) < 2 {
		usage()
	}
	j, ok := jobs[os.Args[1]]
	if !ok {
		usage()
	}
	if err := j.run(os.Args[2:]); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
}

func usage() {
	names := make([]string, 0, len(jobs))
	for name := range jobs {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		fmt.Fprintln(os.Stderr, "peers "+jobs[name].usage)
	}
	os.Exit(2)
}

// answer writes one JSON line.
func answer(v any) error {
	return json.NewEncoder(os.Stdout).Encode(v)
}
