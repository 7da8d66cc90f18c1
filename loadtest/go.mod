module github.com/weir-net/weir/loadtest

go 1.26.0

require (
	github.com/chromedp/chromedp v0.22.1
	github.com/cilium/ebpf v0.22.0
	github.com/gopacket/gopacket v1.7.7
	github.com/twmb/franz-go v1.22.2
	github.com/twmb/franz-go/pkg/kadm v1.19.0
	github.com/twmb/franz-go/pkg/kfake v0.0.0-20260918054303-01f206a7e32c
	github.com/vishvananda/netlink v1.3.1
	github.com/vishvananda/netns v0.0.5
	github.com/weir-net/weir/bpf v0.0.0
	github.com/weir-net/weir/schemas v0.0.0
	golang.org/x/sys v0.49.0
)

require (
	github.com/chromedp/cdproto v0.159.0 // indirect
	github.com/go-json-experiment/json v0.0.0-20260213210345-44df1a37e875 // indirect
	github.com/klauspost/compress v1.20.3 // indirect
	github.com/pierrec/lz4/v4 v4.1.33 // indirect
	github.com/twmb/franz-go/pkg/kmsg v1.15.0 // indirect
	golang.org/x/net v0.55.0 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
)

replace (
	github.com/weir-net/weir/bpf => ../bpf
	github.com/weir-net/weir/schemas => ../schemas
)

tool github.com/cilium/ebpf/cmd/bpf2go
