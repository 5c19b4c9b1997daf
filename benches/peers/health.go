package main

import (
	"bufio"
	"os"

	enginehealth "github.com/argoproj/gitops-engine/pkg/health"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// health answers gitops-engine's built-in health assessment of the object in each file; no status where it has no rule.
func health(args []string) error {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		path := lines.Text()
		if path == "" {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		line := struct {
			File    string `json:"file"`
			Status  string `json:"status"`
			Message string `json:"message"`
			Error   string `json:"error,omitempty"`
		}{File: path}
		var object unstructured.Unstructured
		if err := yaml.Unmarshal(text, &object); err != nil {
			line.Error = err.Error()
		} else {
			status, err := enginehealth.GetResourceHealth(&object, nil)
			if err != nil {
				line.Error = err.Error()
			}
			if status != nil {
				line.Status, line.Message = string(status.Status), status.Message
			}
		}
		if err := answer(line); err != nil {
			return err
		}
	}
	return lines.Err()
}
