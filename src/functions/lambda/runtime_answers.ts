/** How the APIs inside a container of AWS Lambda say that something was taken. */
export function accepted(): Response {
  return Response.json({ status: "OK" }, { status: 202 });
}

/** How they say that something was not. */
export function refusal(status: number, errorType: string, errorMessage: string): Response {
  return Response.json({ errorType, errorMessage }, { status });
}
