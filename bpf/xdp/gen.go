package xdp

//go:generate go tool bpf2go -tags linux -target bpfel -type slot -type control -type lease -type set4 -type set6 -type listed4 -type lease_set -type listed_count -type packet -type batch -type run -type outcomes -type target -type totals -type sketch -type signature -type exact_key -type prefix_key -type prefix_value -type bucket_key -no-strip=false weir xdp.bpf.c -- -O2 -g -Wall -Werror -mcpu=v3 -I/usr/include/x86_64-linux-gnu -fdebug-compilation-dir=.
