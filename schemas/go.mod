module github.com/weir-net/weir/schemas

go 1.26.0

require (
	github.com/santhosh-tekuri/jsonschema/v6 v6.0.3
	go.yaml.in/yaml/v3 v3.0.4
	google.golang.org/protobuf v1.36.12
)

require golang.org/x/text v0.14.0 // indirect

tool google.golang.org/protobuf/cmd/protoc-gen-go
