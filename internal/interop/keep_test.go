package interop

import (
	_ "github.com/attestd/attestd"
	_ "github.com/go-jose/go-jose/v4"
	_ "github.com/pb33f/libopenapi"
	_ "github.com/pb33f/libopenapi-validator"
	_ "github.com/veraison/corim/corim"
	_ "github.com/veraison/ear"
)
