package ima

// AggregateOf looks for the boot aggregate in bytes that were not replayed.
func AggregateOf(list []byte) *Fault {
	return (&Log{log: list}).checkAggregate(&[24][]byte{})
}
