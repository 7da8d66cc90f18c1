module github.com/weir-net/weir/services/probe

go 1.26

require github.com/weir-net/weir/services/internal/kit v0.0.0
require github.com/weir-net/weir/schemas v0.0.0
require github.com/weir-net/weir/bpf v0.0.0
replace github.com/weir-net/weir/services/internal/kit => ../internal/kit
replace github.com/weir-net/weir/schemas => ../../schemas
replace github.com/weir-net/weir/bpf => ../../bpf
