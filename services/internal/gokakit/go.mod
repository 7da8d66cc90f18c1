module github.com/weir-net/weir/services/internal/gokakit

go 1.26

require github.com/weir-net/weir/services/internal/kit v0.0.0
require github.com/weir-net/weir/schemas v0.0.0
replace github.com/weir-net/weir/services/internal/kit => ../kit
replace github.com/weir-net/weir/schemas => ../../../schemas
