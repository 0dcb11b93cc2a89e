// What OpenFaaS's classic watchdog does with a request, and nothing else: a process for each, without any isolation, with
// the body on stdin, stdout as the answer, and the header fields in the environment.
//
//	go run forking.go <program> [argument…]     prints its port
package main

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		cmd := exec.Command(os.Args[1], os.Args[2:]...)
		cmd.Env = append(os.Environ(), "Http_Method="+r.Method, "Http_Path="+r.URL.Path, "Http_Query="+r.URL.RawQuery)
		for name, values := range r.Header {
			cmd.Env = append(cmd.Env, "Http_"+strings.ReplaceAll(name, "-", "_")+"="+values[0])
		}
		var out bytes.Buffer
		cmd.Stdin, cmd.Stdout = r.Body, &out
		if err := cmd.Run(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Length", strconv.Itoa(out.Len()))
		w.Write(out.Bytes())
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	panic(http.Serve(listener, nil))
}
