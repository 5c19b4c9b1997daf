package main

import (
	"encoding/json"
	"errors"
	"flag"
	"net/http"
	"net/url"
	"os"

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
	return decodeRounds(args, count)
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
	address := *server + "/api/v1/applications"
	if *projected {
		address += "?" + url.Values{"fields": {summaryFields}}.Encode()
	}
	token := os.Getenv("ARGOCD_AUTH_TOKEN")
	call := func() (*v1alpha1.ApplicationList, error) { return applications(address, token) }
	return callRounds(*rounds, call, count)
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
