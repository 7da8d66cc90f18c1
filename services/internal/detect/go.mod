module github.com/weir-net/weir/services/internal/detect

go 1.26.0

require (
	github.com/weir-net/weir/schemas v0.0.0
	go.yaml.in/yaml/v3 v3.0.4
)

require google.golang.org/protobuf v1.36.12 // indirect

replace github.com/weir-net/weir/schemas => ../../../schemas
