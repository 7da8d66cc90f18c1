module github.com/weir-net/weir/services/internal/kit

go 1.26

require github.com/weir-net/weir/schemas v0.0.0
replace github.com/weir-net/weir/schemas => ../../../schemas
