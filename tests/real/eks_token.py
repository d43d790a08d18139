"""Signs an EKS token's URL again, by botocore, and compares; prints the parameters that it covers."""

import base64
import sys
from urllib.parse import parse_qsl, urlencode, urlsplit

from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

token, cluster, key, secret, region = sys.argv[1:]
prefix, text = token.split(".", 1)
assert prefix == "k8s-aws-v1" and "=" not in text, token
url = urlsplit(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode())
query = dict(parse_qsl(url.query, strict_parsing=True))
assert len(query) == url.query.count("=") and query["Action"] == "GetCallerIdentity", query
assert int(query["X-Amz-Expires"]) <= 60 and "x-k8s-aws-id" in query["X-Amz-SignedHeaders"].split(";"), query
signature = query.pop("X-Amz-Signature")
request = AWSRequest("GET", f"{url.scheme}://{url.netloc}{url.path}?{urlencode(query)}",
                     headers={"x-k8s-aws-id": cluster})
request.context["timestamp"] = query["X-Amz-Date"]
auth = SigV4QueryAuth(Credentials(key, secret), "sts", region)
again = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
assert again == signature, (again, signature)
print(" ".join(sorted(query)))
