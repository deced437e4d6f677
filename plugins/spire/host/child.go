package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"

	goplugin "github.com/hashicorp/go-plugin"
	"github.com/spiffe/spire-plugin-sdk/pluginsdk"
	"github.com/spiffe/spire-plugin-sdk/private"
	configv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/service/common/config/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/attestd/attestd"
)

// methodShutdown is go-plugin's order to end, which SPIRE gives last.
const methodShutdown = "/plugin.GRPCController/Shutdown"

// errNotSPIRE is for people who start a plugin by hand.
var errNotSPIRE = errors.New("this is a plugin, and SPIRE starts it: name attestd-spire as plugin_cmd and " +
	"the sub-command in plugin_args, and start SPIRE")

// child is one life of the plugin's code.
type child struct {
	env    Env
	plugin Plugin
	config configv1.ConfigServer
	// up is the way to the supervisor, for one writer at a time.
	upLock sync.Mutex
	up     io.Writer
	// configuring is held from before a configuration is applied until the supervisor has it: the one
	// that it keeps is the one that was applied last.
	configuring sync.Mutex
}

func runChild(env Env, new func(Env) (Plugin, error)) (int, error) {
	listener, up, down, err := inherited()
	if err != nil {
		return exitFailed, err
	}
	env.Keep = os.NewFile(childKeep, "keep")
	c := &child{env: env, up: up}
	if c.plugin, err = new(c.env); err != nil {
		return exitFailed, fmt.Errorf("the plugin cannot be made: %w", err)
	}
	kind := c.plugin.Server.Type()
	if err := handshake(kind); err != nil {
		return exitNotSPIRE, err
	}
	server, err := c.serve(kind)
	if err != nil {
		return exitFailed, err
	}
	if err := c.replay(down); err != nil {
		return exitFailed, err
	}
	if err := c.tell(controlReady, []byte(kind)); err != nil {
		return exitFailed, err
	}
	listener = onlyNeighbours(listener, env.Logger)
	failed := background(func() { server.Serve(listener) })
	orphaned := make(chan struct{})
	go func() {
		// The supervisor says nothing more; the pipe ends with it.
		_, _, _ = readControl(down)
		close(orphaned)
	}()
	select {
	case err := <-failed:
		return exitFailed, err
	case <-server.DoneCh:
		return exitOK, nil
	case <-orphaned:
		return exitFailed, errors.New("the supervisor is gone")
	}
}

// inherited are the descriptors that a supervisor hands down.
func inherited() (listener net.Listener, up, down *os.File, err error) {
	for descriptor := childListener; descriptor <= childKeep; descriptor++ {
		syscall.CloseOnExec(descriptor) // no program that the plugin starts shall hold them
	}
	socket := os.NewFile(childListener, "listener")
	defer func() { _ = socket.Close() }()
	if listener, err = net.FileListener(socket); err != nil {
		return nil, nil, nil, errors.New(childVariable + " is set, and there is no supervisor: unset it")
	}
	return listener, os.NewFile(childUp, "up"), os.NewFile(childDown, "down"), nil
}

// handshake is go-plugin's: a variable that SPIRE alone sets, named after the type of plugin it wants.
func handshake(kind string) error {
	if os.Getenv(kind) != kind {
		return errNotSPIRE
	}
	// SPIRE speaks to its plugins without TLS. Whoever demands it would find none here.
	if os.Getenv("PLUGIN_CLIENT_CERT") != "" {
		return fmt.Errorf("the caller demands TLS of the plugin, as SPIRE does not: %w", errNotSPIRE)
	}
	return nil
}

// serve makes the gRPC server, with all that go-plugin's client looks for.
func (c *child) serve(kind string) (*goplugin.GRPCServer, error) {
	server := &goplugin.GRPCServer{
		Plugins: map[string]goplugin.Plugin{kind: &registration{child: c}},
		Server: func(options []grpc.ServerOption) *grpc.Server {
			options = append(options, grpc.ChainUnaryInterceptor(c.notice))
			return grpc.NewServer(append(options, guard{env: c.env, silence: Silence}.options()...)...)
		},
		DoneCh: make(chan struct{}),
		// Both streams go to SPIRE through the process's own. These stand-ins must never end: there
		// go-plugin writes to a logger that it has only where it serves the plugin itself.
		Stdout: endless(), Stderr: endless(),
	}
	if err := server.Init(); err != nil {
		return nil, err
	}
	if c.config == nil {
		return nil, fmt.Errorf("the plugin %s has no configuration service", c.plugin.Name)
	}
	return server, nil
}

// endless is a stream on which nothing comes.
func endless() io.Reader {
	reader, _ := io.Pipe()
	return reader
}

// background runs what must not end, and says how it ended. go-plugin panics where its listener fails,
// for want of the logger: that ends this child, in order.
func background(run func()) <-chan error {
	ended := make(chan error, 1)
	go func() {
		defer func() {
			if panicked := recover(); panicked != nil {
				ended <- fmt.Errorf("serving failed: %s", attestd.Excerpt(fmt.Sprint(panicked), 200))
			}
		}()
		run()
	}()
	return ended
}

// tell writes to the supervisor.
func (c *child) tell(kind byte, body []byte) error {
	c.upLock.Lock()
	defer c.upLock.Unlock()
	if err := writeControl(c.up, kind, body); err != nil {
		return fmt.Errorf("the supervisor cannot be told: %w", err)
	}
	return nil
}

// replay applies the configuration that an earlier child had accepted.
func (c *child) replay(down io.Reader) error {
	kind, body, err := readControl(down)
	if err != nil {
		return fmt.Errorf("the supervisor said nothing: %w", err)
	}
	if kind == controlNothing {
		return nil
	}
	var request configv1.ConfigureRequest
	if err := proto.Unmarshal(body, &request); err != nil {
		return fmt.Errorf("the configuration of the plugin before: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), UnaryTime)
	defer cancel()
	if _, err := c.config.Configure(ctx, &request); err != nil {
		return fmt.Errorf("the configuration of the plugin before: %w", err)
	}
	return nil
}

// notice hands what must outlive this child to the supervisor, before SPIRE has the answer.
func (c *child) notice(ctx context.Context, request any, info *grpc.UnaryServerInfo,
	handler grpc.UnaryHandler) (any, error) {
	if info.FullMethod == methodShutdown {
		if err := c.tell(controlGoodbye, nil); err != nil {
			return nil, err
		}
	}
	configure, ok := request.(*configv1.ConfigureRequest)
	if !ok {
		return handler(ctx, request)
	}
	c.configuring.Lock()
	defer c.configuring.Unlock()
	answer, err := handler(ctx, request)
	if err != nil {
		return answer, err
	}
	body, err := proto.Marshal(configure)
	if err == nil {
		err = c.tell(controlConfiguration, body)
	}
	if err != nil {
		c.env.Logger.Error("the configuration cannot be kept", "err", err)
		return nil, errInternal()
	}
	return answer, nil
}

// registration puts the plugin's services on the gRPC server.
type registration struct {
	goplugin.NetRPCUnsupportedPlugin
	child *child
}

// GRPCServer registers every service, and refuses one that would not survive a restart.
func (r *registration) GRPCServer(_ *goplugin.GRPCBroker, server *grpc.Server) error {
	var services []pluginsdk.ServiceServer
	var err error
	for _, service := range append([]pluginsdk.ServiceServer{r.child.plugin.Server}, r.child.plugin.Services...) {
		services = append(services, &noted{ServiceServer: service, implementation: func(one any) {
			if config, ok := one.(configv1.ConfigServer); ok {
				r.child.config = config
			}
			if _, ok := one.(pluginsdk.NeedsHostServices); ok {
				err = fmt.Errorf("the plugin %s needs host services, which SPIRE offers once only",
					r.child.plugin.Name)
			}
			// SPIRE initializes the first child alone.
			if logged, ok := one.(pluginsdk.NeedsLogger); ok {
				logged.SetLogger(r.child.env.Logger)
			}
		}})
	}
	private.Register(server, services, r.child.env.Logger, noHost{})
	return err
}

// GRPCClient is for the other side.
func (r *registration) GRPCClient(context.Context, *goplugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, errors.New("this is the plugin's side")
}

// noted is a service whose implementation is looked at when it is registered.
type noted struct {
	pluginsdk.ServiceServer
	implementation func(any)
}

// RegisterServer registers the service.
func (n *noted) RegisterServer(server *grpc.Server) any {
	implementation := n.ServiceServer.RegisterServer(server)
	n.implementation(implementation)
	return implementation
}

// noHost is the way to host services, which no plugin here takes.
type noHost struct{}

// DialHost refuses.
func (noHost) DialHost(context.Context) (grpc.ClientConnInterface, error) {
	return nil, errors.New("host services are not used")
}
