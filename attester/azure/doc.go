// Package azure collects evidence inside an Azure confidential VM: the report that its paravisor keeps
// in the virtual TPM, a quote of that TPM by the key which the report names, and what the host's
// services give about the CPU: the chip's certificates on AMD, a quote over the paravisor's TDREPORT on
// Intel.
//
// What comes in: a freshness value for the TPM's quote. What is true where a call returns no error: the
// TPM quoted it, and on Intel the host made a quote over the same report data as the paravisor's
// report has. What is not shown: that any of it is genuine, or that the services which answered are
// Azure's. Only a verifier shows the first, and it believes nothing of the second.
//
// The services are reached over plain HTTP at 169.254.169.254, which no packet leaves the host for
// ("Azure Instance Metadata Service"; "Trusted Hardware Identity Management"). No proxy is used and no
// redirect followed. Nothing is written into the TPM.
package azure
