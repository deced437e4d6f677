package front_test

import (
	"github.com/attestd/attestd/internal/issuance"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/spire/front"
	"github.com/attestd/attestd/internal/spire/nodeca"
)

// The parts that there are, are those that a front is made of.
var (
	_ front.Office    = (*issuance.Office)(nil)
	_ front.Book      = (*operator.Book)(nil)
	_ front.NodeCA    = (*nodeca.CA)(nil)
	_ issuance.NodeCA = nodeca.Certifier{}
)
