/**
 * A runtime of AWS Lambda in busybox's shell, written after AWS's description of the Runtime API. An event says what its
 * handler does: its text is looked at, and is the answer where nothing of this stands in it.
 * @see https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
 */
export const lambdaRuntime = `
api=http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime
post() { busybox wget -q -O /tmp/said --header "content-type: application/json" "$@" 2>/tmp/refused; }
field() { busybox sed -n "s/^ *lambda-runtime-$1: //Ip" /tmp/head | tr -d '\\r'; }
echo init >&2
case "$INIT" in
  error) post --post-data '{"errorType":"Function.NoModule","errorMessage":"no module"}' $api/init/error; exit 1;;
  exit) exit 7;;
  hang) sleep 1000;;
esac
stream() {
  printf 'POST /2018-06-01/runtime/invocation/%s/response HTTP/1.1\\r\\nhost: x\\r\\nconnection: close\\r\\n' $id
  printf 'content-type: text/plain\\r\\nlambda-runtime-function-response-mode: streaming\\r\\n'
  printf 'transfer-encoding: chunked\\r\\n\\r\\n3\\r\\none\\r\\n'
  case "$(head -c 200 /tmp/event)" in
    *torn*) sleep 1000;;
    *late*) printf '0\\r\\nlambda-runtime-function-error-type: TypeError\\r\\nlambda-runtime-function-error-body: %s\\r\\n\\r\\n' \
      "$(printf '{"errorType":"TypeError","errorMessage":"late"}' | busybox base64 -w 0)";;
    *) printf '3\\r\\ntwo\\r\\n0\\r\\n\\r\\n';;
  esac
}
n=0
while :; do
  busybox wget -q -S -O /tmp/event $api/invocation/next 2>/tmp/head || exit 9
  id=$(field aws-request-id); n=$((n + 1)); cp=/tmp/event
  echo "event $n" >&2
  case "$(head -c 200 /tmp/event)" in
    *fail*) post --post-data '{"errorType":"TypeError","errorMessage":"x is 1","stackTrace":["at a"]}' $api/invocation/$id/error; continue;;
    *torn*) stream | nc 127.0.0.1 9001 > /tmp/said & sleep 0.3; exit 3;;
    *stream*) stream | nc 127.0.0.1 9001 > /tmp/said; continue;;
    *count*) echo "{\\"n\\":$n}" > /tmp/answer;;
    *context*) env | busybox grep -E '^(AWS_|LAMBDA_|_HANDLER|TZ)' > /tmp/answer; busybox grep -i lambda-runtime /tmp/head >> /tmp/answer;;
    *exit*) exit 3;;
    *memory*) head -c 300000000 /dev/zero | busybox tail -c 300000000 > /dev/null;;
    *hang*) sleep 1000;;
    *wrong*) post --post-data '"x"' $api/invocation/another/response; busybox cat /tmp/refused >&2; sleep 1000;;
    *large*) head -c 6500000 /dev/zero | tr '\\0' x > /tmp/answer;;
    *storm*) i=0; while [ $i -lt 100 ]; do busybox wget -q -O - $api/../ping > /dev/null 2>&1; i=$((i + 1)); done; sleep 1000;;
    *) busybox cp /tmp/event /tmp/answer;;
  esac
  post --post-file /tmp/answer $api/invocation/$id/response || busybox cat /tmp/refused >&2
done
`;
