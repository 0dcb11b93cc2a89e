// A server as a function of protocol http has it: it answers each request with a line, on $PORT.
package main

import (
	"io"
	"net/http"
	"os"
)

func main() {
	panic(http.ListenAndServe(os.Getenv("HOST")+":"+os.Getenv("PORT"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, "hello\n")
	})))
}
