package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"sort"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// fluxCounts is what was read; both sides have to have read the same.
type fluxCounts struct {
	Kustomizations int    `json:"kustomizations"`
	Ready          int    `json:"ready"`
	Failed         int    `json:"failed"`
	Suspended      int    `json:"suspended"`
	Conditions     int    `json:"conditions"`
	Entries        int    `json:"entries"`
	Checksum       string `json:"checksum"`
}

// countKustomizations also sums up, in the order of their names, what each says of itself.
func countKustomizations(items []kustomizev1.Kustomization) fluxCounts {
	counts := fluxCounts{Kustomizations: len(items)}
	lines := make([]string, 0, len(items))
	for i := range items {
		item := &items[i]
		status, message := "", ""
		if ready := meta.FindStatusCondition(item.Status.Conditions, "Ready"); ready != nil {
			status, message = string(ready.Status), ready.Message
			switch ready.Status {
			case metav1.ConditionTrue:
				counts.Ready++
			case metav1.ConditionFalse:
				counts.Failed++
			}
		}
		if item.Spec.Suspend {
			counts.Suspended++
		}
		counts.Conditions += len(item.Status.Conditions)
		if item.Status.Inventory != nil {
			counts.Entries += len(item.Status.Inventory.Entries)
		}
		lines = append(lines, fmt.Sprintf("%s/%s %d %d %s %s %s\n", item.Namespace, item.Name, item.Generation,
			item.Status.ObservedGeneration, item.Status.LastAppliedRevision, status, message))
	}
	sort.Strings(lines)
	sum := sha256.New()
	for _, line := range lines {
		sum.Write([]byte(line))
	}
	counts.Checksum = hex.EncodeToString(sum.Sum(nil))
	return counts
}

// fluxDecode reads a list of Kustomizations into Flux's own types.
func fluxDecode(args []string) error {
	return decodeRounds(args, func(list *kustomizev1.KustomizationList) fluxCounts { return countKustomizations(list.Items) })
}

// fluxList asks an API server for all Kustomizations through controller-runtime's client, as Flux's controllers and its command do: the time
// of one call, and the processor time of this process for it.
func fluxList(args []string) error {
	flags := flag.NewFlagSet("flux-list", flag.ContinueOnError)
	kubeconfig := flags.String("kubeconfig", "", "kubeconfig file")
	rounds := flags.Int("rounds", 0, "how often")
	page := flags.Int64("page", 0, "objects per request; 0, the client's default, asks for all at once")
	gzip := flags.Bool("gzip", false, "ask for compressed answers, the client's default")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ctrl.SetLogger(logr.Discard())
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		return err
	}
	config.QPS = -1
	config.DisableCompression = !*gzip
	scheme := runtime.NewScheme()
	if err := kustomizev1.AddToScheme(scheme); err != nil {
		return err
	}
	api, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return err
	}
	call := func() ([]kustomizev1.Kustomization, error) { return kustomizations(api, *page) }
	return callRounds(*rounds, call, countKustomizations)
}

// kustomizations is one list, page by page.
func kustomizations(api client.Client, page int64) ([]kustomizev1.Kustomization, error) {
	var all []kustomizev1.Kustomization
	var options []client.ListOption
	if page > 0 {
		options = append(options, client.Limit(page))
	}
	next := ""
	for {
		var list kustomizev1.KustomizationList
		if err := api.List(context.Background(), &list, append(options, client.Continue(next))...); err != nil {
			return nil, err
		}
		if all == nil && list.Continue == "" {
			return list.Items, nil
		}
		all = append(all, list.Items...)
		if next = list.Continue; next == "" {
			return all, nil
		}
	}
}
