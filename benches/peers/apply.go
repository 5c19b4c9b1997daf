package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/polling"
	"github.com/fluxcd/pkg/ssa"
	ssautils "github.com/fluxcd/pkg/ssa/utils"
	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// apply is the Flux library's staged apply, set up as kustomize-controller sets it up, without the client's rate limit. Measured
// is everything from the bytes of the manifests to the last answer of the API server: discovery is in it.
func apply(args []string) error {
	flags := flag.NewFlagSet("apply", flag.ContinueOnError)
	kubeconfig := flags.String("kubeconfig", "", "kubeconfig file")
	manifests := flags.String("manifests", "", "file or directory of YAML")
	concurrency := flags.Int("concurrency", 4, "concurrent requests; 4 is kustomize-controller's default")
	owner := flags.String("owner", "bench", "name of the owner, in labels")
	expect := flags.String("expect", "", "create, noop or change: fail when the outcome is another")
	if err := flags.Parse(args); err != nil {
		return err
	}
	text, err := readManifests(*manifests)
	if err != nil {
		return err
	}
	ctrl.SetLogger(logr.Discard())
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		return err
	}
	config.QPS = -1
	config.WarningHandler = rest.NoWarnings{}

	start := time.Now()
	objects, err := ssautils.ReadObjects(bytes.NewReader(text))
	if err != nil {
		return err
	}
	manager, err := newManager(config, *concurrency)
	if err != nil {
		return err
	}
	manager.SetOwnerLabels(objects, *owner, "default")
	changes, err := manager.ApplyAllStaged(context.Background(), objects, ssa.DefaultApplyOptions())
	if err != nil {
		return err
	}
	took := time.Since(start)

	counts := map[ssa.Action]int{}
	for _, entry := range changes.Entries {
		counts[entry.Action]++
	}
	if err := check(*expect, counts, len(objects)); err != nil {
		return err
	}
	return answer(map[string]any{"ms": median([]time.Duration{took}), "objects": len(objects), "actions": counts})
}

func newManager(config *rest.Config, concurrency int) (*ssa.ResourceManager, error) {
	http, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	mapper, err := apiutil.NewDynamicRESTMapper(config, http)
	if err != nil {
		return nil, err
	}
	api, err := client.New(config, client.Options{HTTPClient: http, Mapper: mapper})
	if err != nil {
		return nil, err
	}
	poller := polling.NewStatusPoller(api, mapper, polling.Options{})
	manager := ssa.NewResourceManager(api, poller, ssa.Owner{Field: "flux-bench", Group: "bench.gitops.example"})
	manager.SetConcurrency(concurrency)
	return manager, nil
}

// check refuses to report a time for work that was not the work asked for.
func check(expect string, counts map[ssa.Action]int, objects int) error {
	var ok bool
	switch expect {
	case "":
		ok = true
	case "create":
		ok = counts[ssa.CreatedAction] == objects
	case "noop":
		ok = counts[ssa.UnchangedAction] == objects
	case "change":
		ok = counts[ssa.ConfiguredAction] > 0 && counts[ssa.ConfiguredAction]+counts[ssa.UnchangedAction] == objects
	default:
		return fmt.Errorf("unknown expectation %q", expect)
	}
	if !ok {
		return fmt.Errorf("expected %s of %d objects, got %v", expect, objects, counts)
	}
	return nil
}

// readManifests joins the YAML files under path, in the order of their names.
func readManifests(path string) ([]byte, error) {
	if path == "" {
		return nil, errors.New("--manifests is missing")
	}
	var all bytes.Buffer
	err := filepath.WalkDir(path, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if ext := filepath.Ext(file); ext != ".yaml" && ext != ".yml" {
			return nil
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		all.WriteString("---\n")
		all.Write(text)
		all.WriteString("\n")
		return nil
	})
	return all.Bytes(), err
}
