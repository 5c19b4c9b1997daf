package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sort"
	"strconv"
	"syscall"
	"time"
)

// fileAndRounds reads the arguments FILE ROUNDS.
func fileAndRounds(args []string) (text []byte, rounds int, err error) {
	if len(args) != 2 {
		return nil, 0, errors.New("FILE ROUNDS")
	}
	text, err = os.ReadFile(args[0])
	if err != nil {
		return nil, 0, err
	}
	rounds, err = strconv.Atoi(args[1])
	if err != nil || rounds < 1 {
		return nil, 0, fmt.Errorf("rounds: %q", args[1])
	}
	return text, rounds, nil
}

// decodeRounds measures how long it takes to read a file of JSON into a List, and answers with what count found in it.
func decodeRounds[List, Counts any](args []string, count func(*List) Counts) error {
	text, rounds, err := fileAndRounds(args)
	if err != nil {
		return err
	}
	var found Counts
	times := make([]time.Duration, 0, rounds)
	for round := range rounds + 1 {
		start := time.Now()
		list := new(List)
		if err := json.Unmarshal(text, list); err != nil {
			return err
		}
		if round == 0 { // warm-up
			found = count(list)
			continue
		}
		times = append(times, time.Since(start))
	}
	return answer(map[string]any{"ms": median(times), "bytes": len(text), "counts": found})
}

// callRounds measures the time of one call to a server and the processor time of this process for it, and answers with what count found in
// the answer.
func callRounds[List, Counts any](rounds int, call func() (List, error), count func(List) Counts) error {
	if rounds < 1 {
		return errors.New("--rounds must be at least 1")
	}
	list, err := call()
	if err != nil {
		return err
	}
	found := count(list)
	times := make([]time.Duration, 0, rounds)
	var cpu time.Duration
	for round := range rounds + 1 {
		before, err := processorTime()
		if err != nil {
			return err
		}
		start := time.Now()
		if _, err := call(); err != nil {
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
	calls := float64(rounds + 1)
	return answer(map[string]any{"ms": median(times), "cpu_ms": cpu.Seconds() * 1e3 / calls, "counts": found})
}

// processorTime is what this process has used so far, of its own and of the system's, on all threads.
func processorTime() (time.Duration, error) {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0, err
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), nil
}

// median of the rounds, in milliseconds.
func median(rounds []time.Duration) float64 {
	sort.Slice(rounds, func(i, j int) bool { return rounds[i] < rounds[j] })
	ms := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }
	n := len(rounds)
	if n%2 == 1 {
		return ms(rounds[n/2])
	}
	return (ms(rounds[n/2-1]) + ms(rounds[n/2])) / 2
}
