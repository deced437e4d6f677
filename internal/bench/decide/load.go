package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

// child is a server in a process of its own.
type child struct {
	ready
	command *exec.Cmd
	stdin   io.WriteCloser
	calls   []authv3.AuthorizationClient
	dials   []*grpc.ClientConn
	web     *http.Client
}

// connections is how many there are of each kind, as a gateway of a few workers has.
const connections = 4

func spawn(args ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{command: exec.Command(self, args...), web: &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: 256, DisableCompression: true,
	}, Timeout: 5 * time.Second}}
	c.command.Stderr = os.Stderr
	if c.stdin, err = c.command.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.command.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReaderSize(out, 1<<20).ReadBytes('\n')
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errServer, err)
	}
	if err := json.Unmarshal(line, &c.ready); err != nil {
		return nil, err
	}
	for range connections {
		conn, err := grpc.NewClient("passthrough:///"+c.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return nil, err
		}
		c.dials, c.calls = append(c.dials, conn), append(c.calls, authv3.NewAuthorizationClient(conn))
	}
	return c, nil
}

func (c *child) stop() {
	for _, one := range c.dials {
		_ = one.Close()
	}
	_ = c.stdin.Close()
	_ = c.command.Wait()
}

// processor is what the process has used of all processors.
func (c *child) processor() (time.Duration, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.command.Process.Pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(content[bytes.LastIndexByte(content, ')')+1:]))
	var ticks int64
	for _, i := range []int{11, 12} { // utime and stime, proc(5)
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil // USER_HZ is 100
}

// askers of the load: what each sends, made beforehand, the same to both servers.
type askersOf struct {
	bodies   [][]byte
	requests []*authv3.CheckRequest
}

func makeAskers(of ready) askersOf {
	var out askersOf
	for i, token := range of.Tokens {
		tenant := tenantOf(of.Callers[i] % of.Tenants)
		out.bodies = append(out.bodies, fmt.Appendf(nil, `{"subject":{"type":"workload","id":%q,"properties":{"token":%q}},`+
			`"action":{"name":"tool.call"},"resource":{"type":"tool","id":"search","properties":{"tenant":%q}}}`,
			callerOf(of.Callers[i]), token, tenant))
		out.requests = append(out.requests, &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
			Source: &authv3.AttributeContext_Peer{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{
				SocketAddress: &corev3.SocketAddress{Address: "127.0.0.1"},
			}}},
			Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
				Id: "req", Method: "POST", Path: "/tools/search", Headers: map[string]string{
					"authorization": "Bearer " + token,
				},
			}},
			ContextExtensions: map[string]string{
				"action": "tool.call", "resource_type": "tool", "resource_id": "search", "tenant": tenant,
			},
		}})
	}
	return out
}

// ask sends one question and reports whether it was allowed.
type ask func(number int) (allowed bool, err error)

func (c *child) overHTTP(of askersOf) ask {
	url := "http://" + c.HTTP + "/access/v1/evaluation"
	return func(number int) (bool, error) {
		request, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(of.bodies[number%len(of.bodies)]))
		if err != nil {
			return false, err
		}
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Authorization", "Bearer "+secret)
		answer, err := c.web.Do(request)
		if err != nil {
			return false, err
		}
		defer func() { _ = answer.Body.Close() }()
		body, err := io.ReadAll(answer.Body)
		return bytes.Contains(body, []byte(`"decision":true`)), err
	}
}

func (c *child) overGRPC(of askersOf) ask {
	header := metadata.Pairs("authorization", "Bearer "+secret)
	return func(number int) (bool, error) {
		ctx, cancel := context.WithTimeout(metadata.NewOutgoingContext(context.Background(), header), 5*time.Second)
		defer cancel()
		answer, err := c.calls[number%connections].Check(ctx, of.requests[number%len(of.requests)])
		return answer.GetOkResponse() != nil, err
	}
}

// result is what came of a load.
type result struct {
	times          []time.Duration
	denied, failed int
	first          error
	cpu            time.Duration
}

func (r *result) add(more result) {
	r.times = append(r.times, more.times...)
	r.denied, r.failed, r.cpu = r.denied+more.denied, r.failed+more.failed, r.cpu+more.cpu
	if r.first == nil {
		r.first = more.first
	}
}

// load asks so many times a second for so long, on a schedule that waits for no answer but where all
// askers at once are waiting.
func (c *child) load(one ask, rate int, lasts time.Duration) (result, error) {
	const atOnce = 128
	before, err := c.processor()
	if err != nil {
		return result{}, err
	}
	total := int(float64(rate) * lasts.Seconds())
	started := time.Now().Add(10 * time.Millisecond)
	results := make([]result, atOnce)
	var all sync.WaitGroup
	for worker := range atOnce {
		all.Go(func() {
			out := &results[worker]
			for number := worker; number < total; number += atOnce {
				due := started.Add(time.Duration(float64(number) / float64(rate) * float64(time.Second)))
				time.Sleep(time.Until(due))
				allowed, err := one(number)
				out.times = append(out.times, time.Since(due))
				switch {
				case err != nil:
					out.failed++
					out.first = err
				case !allowed:
					out.denied++
				}
			}
		})
	}
	all.Wait()
	after, err := c.processor()
	if err != nil {
		return result{}, err
	}
	whole := result{cpu: after - before}
	for _, one := range results {
		whole.add(one)
	}
	return whole, nil
}
