package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// processFigures measures the binary as its users meet it: how long it takes to start, what it holds
// when idle, and what a request costs end to end.
func processFigures(opts options) ([]Figure, error) {
	starts, err := alternate(15, func(int) error {
		return exec.Command(opts.binary, "version").Run() //nolint:gosec // the binary under test
	})
	if err != nil {
		return nil, err
	}
	ready, err := alternate(9, func(int) error {
		server, err := startDev(opts.binary)
		if err == nil {
			server.stop()
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	server, err := startDev(opts.binary)
	if err != nil {
		return nil, err
	}
	defer server.stop()
	time.Sleep(time.Second) // what is done at start is over; what is held from then on counts
	workers, err := childrenOf(server.command.Process.Pid)
	if err != nil {
		return nil, err
	}
	if len(workers) == 0 {
		return nil, errors.New("the daemon has no workers: build it with CGO_ENABLED=0")
	}
	idle, err := residentMiB(server.command.Process.Pid)
	if err != nil {
		return nil, err
	}
	served, err := servedFigures(opts, server.url)
	if err != nil {
		return nil, err
	}
	return append([]Figure{
		atMost("attestd version, start to exit", starts[0]/1000, "ms", 100, 5),
		atMost("daemon, start to stop, workers locked and store durable", ready[0]/1000, "ms", 500, 5),
		atMost("daemon and its workers, idle", idle, "MiB", 60, 5),
	}, served...), nil
}

// servedFigures measures requests through the workers. A known key's table makes its verification as
// cheap as the journey, so that the whole is compared with a verification of a new key as well, which
// is what attesters that were not seen before cost.
func servedFigures(opts options, url string) ([]Figure, error) {
	document, err := nitroQuestion()
	if err != nil {
		return nil, err
	}
	report, err := snpQuestion()
	if err != nil {
		return nil, err
	}
	quote, err := tpmQuestion(opts)
	if err != nil {
		return nil, err
	}
	domain, err := tdxQuestion(opts)
	if err != nil {
		return nil, err
	}
	var journeys [4]journey
	for index, asked := range []question{document, report, quote, domain} {
		if journeys[index], err = overHTTP(opts, url, asked); err != nil {
			return nil, err
		}
	}
	newLeaf, err := newLeafMicros(opts)
	if err != nil {
		return nil, err
	}
	newVCEK, err := newVCEKMicros(opts)
	if err != nil {
		return nil, err
	}
	const times = "x its time"
	ofNitro, ofSNP, ofTPM, ofTDX := journeys[0], journeys[1], journeys[2], journeys[3]
	return []Figure{
		atMost("HTTP, a request without work (healthz)", ofNitro.floor, "us", 100, 10),
		atMost("HTTP verify-recorded through a worker, nitro", ofNitro.total(), "us", 5000, 5),
		atMost("HTTP, nitro, beyond the verifier", ofNitro.edge, "us", 250, 8),
		atMost("HTTP, nitro, over the verifier alone, new leaf", ofNitro.over(newLeaf), times, 1.5, 5),
		atMost("HTTP, nitro, over the verifier alone, known leaf", ofNitro.over(ofNitro.alone), times, 1.5, 8),
		atMost("HTTP verify-recorded through a worker, sev-snp", ofSNP.total(), "us", 5000, 5),
		atMost("HTTP, sev-snp, beyond the verifier", ofSNP.edge, "us", 250, 8),
		atMost("HTTP, sev-snp, over the verifier alone, new VCEK", ofSNP.over(newVCEK), times, 1.5, 5),
		atMost("HTTP, sev-snp, over the verifier alone, known VCEK", ofSNP.over(ofSNP.alone), times, 1.5, 8),
		atMost("HTTP verify-recorded through a worker, tpm, over the verifier alone",
			ofTPM.over(ofTPM.alone), times, 3, 5),
		atMost("HTTP, tpm, beyond the verifier, rejected", ofTPM.edge, "us", 250, 8),
		atMost("HTTP verify-recorded through a worker, tdx, over the verifier alone",
			ofTDX.over(ofTDX.alone), times, 3, 5),
		atMost("HTTP, tdx, beyond the verifier, rejected", ofTDX.edge, "us", 250, 8),
	}, nil
}

type devServer struct {
	command *exec.Cmd
	url     string
}

// startDev starts `attestd dev` on a free port of loopback and waits for it to say where it listens.
func startDev(binary string) (*devServer, error) {
	command := exec.Command(binary, "dev", "--port", "0") //nolint:gosec // the binary under test
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	pipe, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, err
	}
	server := &devServer{command: command}
	found := make(chan string, 1)
	go func() {
		pattern := regexp.MustCompile(`http://127\.0\.0\.1:[0-9]+`)
		lines := bufio.NewScanner(pipe)
		for lines.Scan() {
			if url := pattern.FindString(lines.Text()); url != "" {
				found <- url
				break
			}
		}
		_, _ = io.Copy(io.Discard, pipe)
	}()
	select {
	case server.url = <-found:
		return server, nil
	case <-time.After(30 * time.Second):
		server.stop()
		return nil, errors.New("attestd dev did not say where it listens within 30 s")
	}
}

func (s *devServer) stop() {
	_ = s.command.Process.Signal(syscall.SIGTERM)
	_ = s.command.Wait()
}

// residentMiB adds up the resident memory of a process and its children. Pages that they share are
// counted once for each, so the figure is an upper bound.
func residentMiB(pid int) (float64, error) {
	kib := 0
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			if kib, err = strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB"))); err != nil {
				return 0, err
			}
		}
	}
	total := float64(kib) / 1024
	children, err := childrenOf(pid)
	if err != nil {
		return 0, err
	}
	for _, child := range children {
		more, err := residentMiB(child)
		if err != nil {
			return 0, err
		}
		total += more
	}
	return total, nil
}

// childrenOf returns the processes that a process started.
func childrenOf(pid int) ([]int, error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return nil, err
	}
	var out []int
	for _, task := range tasks {
		children, err := os.ReadFile(task) //nolint:gosec // below /proc
		if err != nil {
			continue // the thread is gone
		}
		for _, child := range strings.Fields(string(children)) {
			number, err := strconv.Atoi(child)
			if err != nil {
				return nil, err
			}
			out = append(out, number)
		}
	}
	return out, nil
}
