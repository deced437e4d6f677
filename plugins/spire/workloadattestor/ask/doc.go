// Package ask is the question that people have when a workload gets no identity: which selectors would
// the workload attestor on this node give to this process now, and why not more?
//
// What comes in: the folder that the plugins of the agent share, and a process id. What is true where
// [Ask] returns no error: the answer came from a process of the folder's user, in a folder that nobody
// else can enter or replace, and says what that process would tell SPIRE at that moment. What is not
// shown: what SPIRE makes of the selectors, or that the process is still the same when it asks for an
// identity.
package ask
