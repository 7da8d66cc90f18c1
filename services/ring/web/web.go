// Package web is the page: its files, embedded, so that the service is one
// binary and the page works without the internet.
package web

import "embed"

// Files are the page's files; index.html is at the top.
//
//go:embed index.html ring.css js vendor/echarts/echarts.min.js vendor/echarts/LICENSE vendor/echarts/LICENSE-zrender vendor/echarts/LICENSE-tslib vendor/echarts/LICENSE-d3 vendor/echarts/NOTICE
var Files embed.FS

// The chart library is a part of Apache ECharts, bundled by esbuild from what
// npm serves. Only this needs npm; go build does not.
//
//go:generate sh -c "cd vendor/echarts && npm ci --no-audit --no-fund && npm run --silent build && rm -rf node_modules"
