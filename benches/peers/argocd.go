package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/argoproj/argo-cd/v3/pkg/apis/application/v1alpha1"
	enginehealth "github.com/argoproj/gitops-engine/pkg/health"
)

// summaryFields is what `list_summaries` of ours has the server send.
const summaryFields = "metadata.resourceVersion,items.metadata.name,items.metadata.namespace,items.metadata.labels,items.metadata.deletionTimestamp," +
	"items.spec,items.status.sync.status,items.status.health,items.status.resources,items.status.operationState.phase," +
	"items.status.operationState.startedAt,items.status.operationState.finishedAt"

// counts is what was read; both sides have to have read the same.
type counts struct {
	Applications int `json:"applications"`
	Synced       int `json:"synced"`
	Healthy      int `json:"healthy"`
	Resources    int `json:"resources"`
	Assessed     int `json:"assessed"`
	History      int `json:"history"`
	Conditions   int `json:"conditions"`
	Ended        int `json:"ended"`
}

func count(list *v1alpha1.ApplicationList) counts {
	c := counts{Applications: len(list.Items)}
	for i := range list.Items {
		status := &list.Items[i].Status
		if status.Sync.Status == v1alpha1.SyncStatusCodeSynced {
			c.Synced++
		}
		if status.Health.Status == enginehealth.HealthStatusHealthy {
			c.Healthy++
		}
		c.Resources += len(status.Resources)
		for _, resource := range status.Resources {
			if resource.Health != nil {
				c.Assessed++
			}
		}
		c.History += len(status.History)
		c.Conditions += len(status.Conditions)
		if status.OperationState != nil && status.OperationState.FinishedAt != nil {
			c.Ended++
		}
	}
	return c
}

// argocdDecode reads a list of applications into Argo CD's own types.
func argocdDecode(args []string) error {
	if len(args) != 2 {
		return errors.New("FILE ROUNDS")
	}
	text, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	rounds, err := strconv.Atoi(args[1])
	if err != nil || rounds < 1 {
		return fmt.Errorf("rounds: %q", args[1])
	}
	var found counts
	times := make([]time.Duration, 0, rounds)
	for round := range rounds + 1 {
		start := time.Now()
		var list v1alpha1.ApplicationList
		if err := json.Unmarshal(text, &list); err != nil {
			return err
		}
		if round == 0 { // warm-up
			found = count(&list)
			continue
		}
		times = append(times, time.Since(start))
	}
	return answer(map[string]any{"ms": median(times), "bytes": len(text), "counts": found})
}

// argocdList asks a server for its applications: the time of one call, and the processor time of this process for it.
func argocdList(args []string) error {
	flags := flag.NewFlagSet("argocd-list", flag.ContinueOnError)
	server := flags.String("url", "", "the server; the token is in the environment, as ARGOCD_AUTH_TOKEN")
	rounds := flags.Int("rounds", 0, "how often")
	projected := flags.Bool("projected", false, "have the server leave out what a summary does not need")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *rounds < 1 {
		return errors.New("--rounds must be at least 1")
	}
	address := *server + "/api/v1/applications"
	if *projected {
		address += "?" + url.Values{"fields": {summaryFields}}.Encode()
	}
	token := os.Getenv("ARGOCD_AUTH_TOKEN")
	list, err := applications(address, token)
	if err != nil {
		return err
	}
	found := count(list)
	list = nil
	times := make([]time.Duration, 0, *rounds)
	var cpu time.Duration
	for round := range *rounds + 1 {
		before, err := processorTime()
		if err != nil {
			return err
		}
		start := time.Now()
		if _, err := applications(address, token); err != nil {
			return err
		}
		took := time.Since(start)
		after, err := processorTime()
		if err != nil {
			return err
		}
		cpu += after - before
		if round > 0 { // the first only warms up
			times = append(times, took)
		}
	}
	calls := float64(*rounds + 1)
	return answer(map[string]any{"ms": median(times), "cpu_ms": cpu.Seconds() * 1e3 / calls, "counts": found})
}

// applications is one call. Like ours, it takes a compressed answer where the server has one.
func applications(address, token string) (*v1alpha1.ApplicationList, error) {
	request, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, errors.New(response.Status)
	}
	var list v1alpha1.ApplicationList
	if err := json.NewDecoder(response.Body).Decode(&list); err != nil {
		return nil, err
	}
	return &list, nil
}

// processorTime is what this process has used so far, of its own and of the system's, on all threads.
func processorTime() (time.Duration, error) {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0, err
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), nil
}
