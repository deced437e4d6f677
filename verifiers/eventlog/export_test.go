package eventlog

// Public returns b without what is not exported, for comparing facts.
func Public(b Boot) Boot {
	b.layout, b.log, b.believed = 0, nil, 0
	return b
}

// CollectFrom collects what another log shows, as if it had been replayed: what a change behind the
// replay would come to.
func CollectFrom(b Boot, log []byte) *Fault {
	b.log = log
	return b.collect()
}
