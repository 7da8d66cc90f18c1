module github.com/weir-net/weir/ci/tally

go 1.26.0
