// Package composite collects the evidence of several devices of one machine for one question.
//
// What comes in: attesters of the devices, each under its path, and one freshness value. What is true
// where a call returns no error: each device's attester was asked with the value that
// [attestd.DeviceFreshness] derives for its path and format, and the container holds what they gave,
// in its one encoding. What is not shown: that the devices are those of this machine, or genuine. A
// verifier shows what can be shown of that.
package composite
