package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// question is one line of input: a text as it is, or as base64 where it may not be UTF-8.
type question struct {
	YAML   string `json:"yaml"`
	Base64 []byte `json:"base64"`
}

func (q question) bytes() []byte {
	if q.Base64 != nil {
		return q.Base64
	}
	return []byte(q.YAML)
}

// verdict is one line of output.
type verdict struct {
	// What yaml.YAMLToJSON gives: later keys win.
	JSON json.RawMessage `json:"json,omitempty"`
	// Why yaml.YAMLToJSON refuses it.
	Error string `json:"error,omitempty"`
	// Why yaml.YAMLToJSONStrict refuses it: also duplicate keys.
	StrictError string `json:"strict_error,omitempty"`
	// The documents of a file.
	Documents []json.RawMessage `json:"documents,omitempty"`
}

// yamlJudge answers how sigs.k8s.io/yaml (read) or kubectl (multi) reads each line's YAML.
func yamlJudge(args []string) error {
	if len(args) == 2 && args[0] == "multi" {
		file, err := os.ReadFile(args[1])
		if err != nil {
			return err
		}
		return answer(multi(file))
	}
	if len(args) != 1 {
		return errors.New("read, or multi [FILE]")
	}
	var judge func([]byte) verdict
	switch args[0] {
	case "read":
		judge = read
	case "multi":
		judge = multi
	default:
		return fmt.Errorf("unknown question %q", args[0])
	}
	in := json.NewDecoder(bufio.NewReader(os.Stdin))
	for {
		var q question
		if err := in.Decode(&q); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("standard input: %w", err)
		}
		if err := answer(judge(q.bytes())); err != nil {
			return err
		}
	}
}

func read(text []byte) verdict {
	var v verdict
	if out, err := yaml.YAMLToJSON(text); err != nil {
		v.Error = err.Error()
	} else {
		v.JSON = out
	}
	if _, err := yaml.YAMLToJSONStrict(text); err != nil {
		v.StrictError = err.Error()
	}
	return v
}

// multi reads a file of documents the way kubectl's resource builder does (k8s.io/cli-runtime/pkg/resource, StreamVisitor):
// decode each document, skip the empty ones and null.
func multi(text []byte) verdict {
	v := verdict{Documents: []json.RawMessage{}}
	decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		var ext runtime.RawExtension
		if err := decoder.Decode(&ext); errors.Is(err, io.EOF) {
			return v
		} else if err != nil {
			v.Error = err.Error()
			return v
		}
		raw := bytes.TrimSpace(ext.Raw)
		if len(raw) == 0 || bytes.Equal(raw, []byte("null")) {
			continue
		}
		v.Documents = append(v.Documents, append(json.RawMessage(nil), raw...))
	}
}

// yamlParse measures bytes to objects: split into documents, each through sigs.k8s.io/yaml into an unstructured object.
func yamlParse(args []string) error {
	text, rounds, err := fileAndRounds(args)
	if err != nil {
		return err
	}
	objects, err := parse(text) // warm-up
	if err != nil {
		return err
	}
	times := make([]time.Duration, 0, rounds)
	for range rounds {
		start := time.Now()
		if _, err := parse(text); err != nil {
			return err
		}
		times = append(times, time.Since(start))
	}
	return answer(map[string]any{"ms": median(times), "objects": len(objects)})
}

func parse(text []byte) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, err
		}
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(document, object); err != nil {
			return nil, err
		}
		objects = append(objects, object)
	}
}
