package judge

// NewWith returns a judge over the given verifiers.
var NewWith = newWith
