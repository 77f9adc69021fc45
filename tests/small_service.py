"""What the service's tests share beside fixtures."""

from fastapi import FastAPI
from fastapi.testclient import TestClient

PASSWORD = "correct horse battery staple"
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}


def sign_in(app: FastAPI, name: str) -> TestClient:
    """A client of its own, signed in."""
    client = TestClient(app, base_url="http://localhost", headers=SAME_ORIGIN)
    answer = client.post("/sign-in", data={"name": name, "password": PASSWORD}, follow_redirects=False)
    assert answer.status_code == 303, answer.text
    assert "problem" not in answer.headers["location"], answer.headers
    return client
