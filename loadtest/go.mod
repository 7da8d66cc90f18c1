module github.com/weir-net/weir/loadtest

go 1.26

require (
	github.com/weir-net/weir/bpf v0.0.0
	github.com/weir-net/weir/schemas v0.0.0
)

replace (
	github.com/weir-net/weir/bpf => ../bpf
	github.com/weir-net/weir/schemas => ../schemas
)
