package snp

// WithKernel returns the profile as one that starts kernels itself: others' tests have digests of
// monitors that do not.
func WithKernel(p Profile) Profile {
	p.directBoot = true
	return p
}
