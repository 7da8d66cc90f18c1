module github.com/weir-net/weir/ci

go 1.26.0
