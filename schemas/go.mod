module github.com/weir-net/weir/schemas

go 1.26

