package controller_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	_ "github.com/spiffe/spire-api-sdk/proto/spire/api/server/agent/v1" // for the names of its methods
	_ "github.com/spiffe/spire-api-sdk/proto/spire/api/server/bundle/v1"
	_ "github.com/spiffe/spire-api-sdk/proto/spire/api/server/debug/v1"
	_ "github.com/spiffe/spire-api-sdk/proto/spire/api/server/entry/v1"
	_ "github.com/spiffe/spire-api-sdk/proto/spire/api/server/localauthority/v1"
	_ "github.com/spiffe/spire-api-sdk/proto/spire/api/server/logger/v1"
	_ "github.com/spiffe/spire-api-sdk/proto/spire/api/server/svid/v1"
	_ "github.com/spiffe/spire-api-sdk/proto/spire/api/server/trustdomain/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/emptypb"
)

const (
	policyFile = "../../../docs/deploy/spire/attestd.rego"
	dataFile   = "../../../docs/deploy/spire/attestd.json"

	controllerID = "spiffe://" + domain + "/attestd/controller"
)

// published is the data as it is published.
func published(t *testing.T) map[string]any {
	t.Helper()
	text, err := os.ReadFile(dataFile)
	if err != nil {
		t.Fatal(err)
	}
	var data map[string]any
	if err := json.Unmarshal(text, &data); err != nil {
		t.Fatal(err)
	}
	return data
}

// policyData returns the published data for the test's trust domain, changed by edit.
func policyData(t *testing.T, edit func(attestd map[string]any)) map[string]any {
	t.Helper()
	data := published(t)
	attestd, ok := data["attestd"].(map[string]any)
	if !ok {
		t.Fatal("the data has no attestd")
	}
	attestd["trust_domain"] = domain
	attestd["controllers"] = []string{controllerID}
	attestd["controller_programs"] = []string{}
	attestd["local_programs"] = []string{filepath.Join(spireFolder(t), "spire-server")}
	if edit != nil {
		edit(attestd)
	}
	return data
}

func thisProgram(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path, err = filepath.EvalSymlinks(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// apiMethods are all that SPIRE's API has and all that the data names.
func apiMethods(t *testing.T) []string {
	t.Helper()
	var names []string
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		if strings.HasPrefix(string(file.Package()), "spire.api.server.") {
			for i := range file.Services().Len() {
				service := file.Services().Get(i)
				for j := range service.Methods().Len() {
					names = append(names, "/"+string(service.FullName())+"/"+string(service.Methods().Get(j).Name()))
				}
			}
		}
		return true
	})
	if len(names) < 40 {
		t.Fatalf("found %d methods", len(names))
	}
	apis, ok := policyData(t, nil)["apis"].([]any)
	if !ok {
		t.Fatal("the data has no apis")
	}
	for _, api := range apis {
		if name, ok := api.(map[string]any)["full_method"].(string); ok && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Answers to a call, as far as authorization goes.
const (
	denied  = "denied"
	passed  = "passed"  // whatever SPIRE said then to an empty request
	unknown = "unknown" // the server has no such method
)

// ask makes a call with an empty request, as a stream, which unary methods answer as well.
func ask(t *testing.T, conn *grpc.ClientConn, method string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method)
	if err == nil {
		err = stream.SendMsg(&emptypb.Empty{})
		if err == nil || errors.Is(err, io.EOF) {
			_ = stream.CloseSend()
			err = stream.RecvMsg(&emptypb.Empty{})
		}
	}
	return answerOf(t, method, err)
}

func answerOf(t *testing.T, method string, err error) string {
	t.Helper()
	said := status.Convert(err)
	switch {
	case said.Code() == codes.PermissionDenied && said.Message() == "authorization denied for method "+method:
		return denied
	case said.Code() == codes.Unimplemented:
		return unknown
	case said.Code() == codes.Unavailable, said.Code() == codes.DeadlineExceeded, said.Code() == codes.Canceled:
		t.Fatalf("%s: no answer: %v", method, err)
	}
	return passed
}

// authorities change what later calls are signed by: they are asked last, and of callers that must not.
func changesAuthorities(method string) bool {
	return strings.Contains(method, "LocalAuthority/") && !strings.Contains(method, "/Get")
}

// callers are the connections of one server by name.
func callers(t *testing.T, s *realSPIRE) map[string]*grpc.ClientConn {
	t.Helper()
	_, agent := s.attest(t)
	bannedID, banned := s.attest(t)
	s.run(t, "agent", "ban", "-spiffeID", bannedID)
	parent := "spiffe://" + domain + "/somewhere"
	for _, one := range []struct{ id, flag string }{{"/admin", "-admin"}, {"/nested", "-downstream"}} {
		s.run(t, "entry", "create", "-parentID", parent, "-spiffeID", "spiffe://"+domain+one.id,
			"-selector", "unix:uid:0", one.flag)
	}
	return map[string]*grpc.ClientConn{
		"nobody":        s.remote(t),
		"agent":         s.remote(t, agent),
		"banned agent":  s.remote(t, banned),
		"workload":      s.remote(t, s.mint(t, "spiffe://"+domain+"/workload")),
		"administrator": s.remote(t, s.mint(t, "spiffe://"+domain+"/admin")),
		"nested server": s.remote(t, s.mint(t, "spiffe://"+domain+"/nested")),
		"local program": s.local(t),
	}
}

// TestPolicyLeavesEveryoneElseAsSPIREDoes: every method of SPIRE's API, asked by every kind of caller
// of a real server with attestd's policy and of one with SPIRE's own.
func TestPolicyLeavesEveryoneElseAsSPIREDoes(t *testing.T) {
	own := callers(t, startSPIRE(t, serverConfig{}))
	ours := callers(t, startSPIRE(t, serverConfig{policy: policyFile, data: policyData(t, func(a map[string]any) {
		a["local_programs"] = append(a["local_programs"].([]string), thisProgram(t))
	})}))
	counts := map[string]int{}
	for caller := range own {
		for _, method := range apiMethods(t) {
			if changesAuthorities(method) && caller != "nobody" && caller != "workload" && caller != "agent" {
				continue
			}
			want, got := ask(t, own[caller], method), ask(t, ours[caller], method)
			if strings.HasSuffix(method, "WITSVID") {
				want = denied // TestPolicyGivesNoWITSVIDs
			}
			counts[caller+" "+got]++
			if want != got {
				t.Errorf("%s to a %s: got %s, and with SPIRE's own policy %s", method, caller, got, want)
			}
		}
	}
	t.Logf("answers: %v", counts)
	for _, some := range []string{
		"nobody passed", "nobody denied", "agent passed", "agent denied", "workload denied", "administrator passed",
		"administrator denied", "nested server passed", "local program passed", "local program denied",
	} {
		if counts[some] == 0 {
			t.Errorf("no %q: the table compares nothing", some)
		}
	}
	if counts["banned agent passed"] != counts["nobody passed"] {
		t.Errorf("a banned agent may do more than nobody: %v", counts)
	}
}

// TestPolicyRefusesOtherPrograms: a program whose path is not in the data gets nothing by the socket
// that it would not get without one, and spire-server copied elsewhere neither.
func TestPolicyRefusesOtherPrograms(t *testing.T) {
	s := startSPIRE(t, serverConfig{policy: policyFile, data: policyData(t, nil)})
	stranger, nobody := s.local(t), s.remote(t)
	for _, method := range apiMethods(t) {
		got, want := ask(t, stranger, method), ask(t, nobody, method)
		if want == unknown { // only answered on the socket
			want = denied
		}
		if got != want {
			t.Errorf("%s to a program that is not listed: got %s, want %s", method, got, want)
		}
	}
	program, err := os.ReadFile(filepath.Join(s.folder, "spire-server"))
	if err != nil {
		t.Fatal(err)
	}
	copied := *s
	copied.folder = t.TempDir()
	if err := os.WriteFile(filepath.Join(copied.folder, "spire-server"), program, 0o700); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	if _, err := copied.try("entry", "show"); err == nil || !strings.Contains(err.Error(), "authorization denied") {
		t.Errorf("a copy of spire-server: got %v, want a refusal", err)
	}
	s.run(t, "entry", "show")
}

// TestPolicyDeniesWhereDataIsMissing: a data file that lost a key denies what the key was for, and
// gives nobody more.
func TestPolicyDeniesWhereDataIsMissing(t *testing.T) {
	for _, row := range []struct {
		name, method, caller string
		edit                 func(map[string]any)
	}{
		{"no gate is written", "/spire.api.server.svid.v1.SVID/NewJWTSVID", "agent", func(a map[string]any) { delete(a, "gate") }},
		{"the gate is neither off nor an address", "/spire.api.server.svid.v1.SVID/NewJWTSVID", "agent",
			func(a map[string]any) { a["gate"] = "" }},
		{"no controllers", "/spire.api.server.agent.v1.Agent/ListAgents", "controller",
			func(a map[string]any) { delete(a, "controllers") }},
		{"no controller programs", "/spire.api.server.agent.v1.Agent/ListAgents", "program",
			func(a map[string]any) { delete(a, "controller_programs") }},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := startSPIRE(t, serverConfig{policy: policyFile, data: policyData(t, row.edit)})
			conn := s.local(t)
			switch row.caller {
			case "agent":
				_, agent := s.attest(t)
				conn = s.remote(t, agent)
			case "controller":
				conn = s.remote(t, s.mint(t, controllerID))
			}
			if got := ask(t, conn, row.method); got != denied {
				t.Errorf("%s: got %s, want %s", row.method, got, denied)
			}
		})
	}
}
