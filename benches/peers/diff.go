package main

import (
	"encoding/json"
	"fmt"
	"time"

	enginediff "github.com/argoproj/gitops-engine/pkg/diff"
	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// pair is a live object and the form it should have; either may be null.
type pair struct {
	Name   string                     `json:"name"`
	Live   *unstructured.Unstructured `json:"live"`
	Target *unstructured.Unstructured `json:"target"`
}

// diffPairs compares each pair as Argo CD does by default (three-way where the live object carries its last applied
// configuration, else two-way) and measures a round over all of them.
func diffPairs(args []string) error {
	text, rounds, err := fileAndRounds(args)
	if err != nil {
		return err
	}
	var pairs []pair
	if err := json.Unmarshal(text, &pairs); err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	lives := make([]*unstructured.Unstructured, len(pairs))
	targets := make([]*unstructured.Unstructured, len(pairs))
	for i, p := range pairs {
		lives[i], targets[i] = p.Live, p.Target
	}
	options := []enginediff.Option{
		enginediff.WithNormalizer(enginediff.GetNoopNormalizer()),
		enginediff.WithLogr(logr.Discard()),
	}
	results, err := enginediff.DiffArray(targets, lives, options...) // warm-up
	if err != nil {
		return err
	}
	type line struct {
		Name     string `json:"name"`
		Modified bool   `json:"modified"`
	}
	verdicts := make([]line, len(pairs))
	for i, r := range results.Diffs {
		verdicts[i] = line{pairs[i].Name, r.Modified}
	}
	times := make([]time.Duration, 0, rounds)
	for range rounds {
		start := time.Now()
		if _, err := enginediff.DiffArray(targets, lives, options...); err != nil {
			return err
		}
		times = append(times, time.Since(start))
	}
	return answer(map[string]any{"ms": median(times), "verdicts": verdicts})
}
