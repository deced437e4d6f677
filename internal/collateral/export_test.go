package collateral

import (
	"context"
	"crypto/x509"
	"net"
	"time"
)

// NewFetcherFor returns a fetcher whose service is somewhere else. There is no other way to say so than from
// a test of this package: neither configuration nor environment can.
func NewFetcherFor(
	store *Store, config FetchConfig, pace, timeout time.Duration, roots *x509.CertPool,
	dial func(ctx context.Context, network, address string) (net.Conn, error),
) (*Fetcher, error) {
	fetcher, err := NewFetcher(store, config)
	if err != nil {
		return nil, err
	}
	fetcher.config.Pace = pace
	for index := range fetcher.clients {
		fetcher.clients[index] = newClient(pace, config.Proxy, roots, dial)
		fetcher.clients[index].timeout = timeout
	}
	return fetcher, nil
}

// MachinePath and MachinesOf are what tests look at.
var (
	MachinePath = machinePath
	MachinesOf  = machinesOf
	ListPath    = listPath
	ChainPath   = chainPath
)

// ReadScope reads an IssuingDistributionPoint.
var ReadScope = readScope

// WatchEvery is how often a watching fetcher looks at the queue.
const WatchEvery = watchEvery
