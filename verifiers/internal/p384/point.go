//go:build !purego && (amd64 || arm64)

package p384

import "math/big"

// affine is a point of the curve other than infinity.
type affine struct{ x, y element }

// point is a point (X/Z^2, Y/Z^3); infinity where Z is zero, as in the zero point.
type point struct{ x, y, z element }

func (p *point) isInfinity() bool { return p.z.isZero() }

func (p *point) set(q *affine) { p.x, p.y, p.z = q.x, q.y, one }

// double sets p to 2p, by "dbl-2001-b" of Bernstein and Lange's Explicit-Formulas Database for a =
// -3. Infinity stays infinity: Z3 = (Y1+Z1)^2 - Y1^2 - Z1^2 is zero with Z1. The curve's order is
// odd, so that no other point doubles to infinity.
func (p *point) double() {
	var delta, gamma, beta, alpha, t, u element
	delta.square(&p.z)
	gamma.square(&p.y)
	beta.mul(&p.x, &gamma)
	t.sub(&p.x, &delta)
	u.add(&p.x, &delta)
	t.mul(&t, &u)
	alpha.add(&t, &t)
	alpha.add(&alpha, &t) // 3 (X1 - Z1^2) (X1 + Z1^2)

	p.z.add(&p.y, &p.z)
	p.z.square(&p.z)
	p.z.sub(&p.z, &gamma)
	p.z.sub(&p.z, &delta)

	beta.add(&beta, &beta)
	beta.add(&beta, &beta) // 4 X1 Y1^2
	p.x.square(&alpha)
	p.x.sub(&p.x, &beta)
	p.x.sub(&p.x, &beta)

	t.sub(&beta, &p.x)
	p.y.mul(&alpha, &t)
	gamma.add(&gamma, &gamma)
	gamma.square(&gamma)
	gamma.add(&gamma, &gamma) // 8 Y1^4
	p.y.sub(&p.y, &gamma)
}

// add sets p to p + q for any two points: where p is infinity, q or -q, the formula of "madd" would
// give (0, 0, 0) or nonsense, and an attacker can bring about each of these.
func (p *point) add(q *affine) {
	if p.isInfinity() {
		p.set(q)
		return
	}
	var zz, h, r, hh, hhh, v element
	zz.square(&p.z)
	h.mul(&q.x, &zz)
	h.sub(&h, &p.x)
	r.mul(&q.y, &zz)
	r.mul(&r, &p.z)
	r.sub(&r, &p.y)
	if h.isZero() { // the same x: the same point or its opposite
		if r.isZero() {
			p.double()
		} else {
			*p = point{}
		}
		return
	}
	hh.square(&h)
	hhh.mul(&hh, &h)
	v.mul(&p.x, &hh)
	p.z.mul(&p.z, &h)
	p.x.square(&r)
	p.x.sub(&p.x, &hhh)
	p.x.sub(&p.x, &v)
	p.x.sub(&p.x, &v)
	v.sub(&v, &p.x)
	hhh.mul(&hhh, &p.y)
	p.y.mul(&r, &v)
	p.y.sub(&p.y, &hhh)
}

// toAffine returns the points with Z = 1, by one inversion for all of them; false where one of them
// is infinity.
func toAffine(points []point) ([]affine, bool) {
	products := make([]element, len(points)) // of all Z up to and with this one
	product := one
	for index := range points {
		product.mul(&product, &points[index].z)
		products[index] = product
	}
	if len(points) == 0 || product.isZero() {
		return nil, false
	}
	var inverse element
	inverse.invert(&product)
	out := make([]affine, len(points))
	for index := len(points) - 1; index >= 0; index-- {
		var z, zz element
		if z = inverse; index > 0 {
			z.mul(&inverse, &products[index-1])
		}
		inverse.mul(&inverse, &points[index].z)
		zz.square(&z)
		out[index].x.mul(&points[index].x, &zz)
		zz.mul(&zz, &z)
		out[index].y.mul(&points[index].y, &zz)
	}
	return out, true
}

// isSignature does FIPS 186-5, section 6.4.2, steps 5 to 7, for the sum of step 4: it is not
// infinity, and its x modulo n is r. Without the first, x = 0 could be taken for r = 0 mod n. As n
// < p < 2n, x is r or r+n: X is compared with each times Z^2, which needs no inversion.
func (p *point) isSignature(r *big.Int) bool {
	if p.isInfinity() {
		return false
	}
	var zz, want element
	zz.square(&p.z)
	for x := r; x.Cmp(prime) < 0; x = new(big.Int).Add(x, order) {
		want.setInteger(x)
		want.mul(&want, &zz)
		if want == p.x {
			return true
		}
	}
	return false
}
