// The same request in other words.

import { address, attributes, contentType, invocations } from "./server.js";

const EXTENSIONS = {
  "text/plain": "txt",
  "image/jpeg": "jpg",
  "image/svg+xml": "svg",
};

/** The name of the file that an answer in a format is saved as. */
export function fileName(picture, format, mediaType) {
  const stem = picture.replace(/\.[^.]*$/, "") || "picture";
  return `${stem}.${format}.${extension(mediaType)}`;
}

/** What the names of files of a media type end with. */
export function extension(mediaType) {
  const subtype = mediaType.split("/").at(-1);
  return EXTENSIONS[mediaType] ?? subtype.split("+").at(-1).replace(/^x-/, "");
}

/** For a shell. */
export function curl(file, model, options, out) {
  return [
    `curl -H ${shell(`Content-Type: ${contentType(file)}`)}`,
    `-H ${shell(`X-Amzn-SageMaker-Custom-Attributes: ${attributes(options)}`)}`,
    `--data-binary ${shell(`@${file.name}`)} --output ${shell(out)}`,
    shell(address(invocations(model))),
  ].join(" \\\n    ");
}

/** For Python. */
export function boto3(file, model, options, out) {
  const endpoint = address(".").replace(/\/$/, "");
  const target = model === null ? "" : `\n    TargetModel=${python(model)},`;
  return `import boto3

runtime = boto3.client(
    "sagemaker-runtime",
    # On AWS, leave out the next four lines.
    endpoint_url=${python(endpoint)},
    region_name="us-east-1",
    aws_access_key_id="any",
    aws_secret_access_key="any",
)
with open(${python(file.name)}, "rb") as picture:
    body = picture.read()
reply = runtime.invoke_endpoint(
    EndpointName="any",${target}
    ContentType=${python(contentType(file))},
    CustomAttributes=${python(attributes(options))},
    Body=body,
)
with open(${python(out)}, "wb") as answer:
    answer.write(reply["Body"].read())
`;
}

/** A word as a shell reads it. */
export function shell(text) {
  return /^[\w@./:-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

function python(text) {
  return JSON.stringify(text);
}
