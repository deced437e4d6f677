package keys

// LimitLedger bounds each file of the ledger to so many records.
func (r *Ring) LimitLedger(most int) { r.ledger.most = most }
