module github.com/weir-net/weir/bpf

go 1.26

