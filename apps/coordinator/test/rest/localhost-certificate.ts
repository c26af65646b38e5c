// For tests only: a self-signed certificate of localhost and 127.0.0.1, valid until 2126. Made by
// openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 36500 -subj /CN=localhost \\
//   -addext "subjectAltName=DNS:localhost,IP:127.0.0.1" -keyout key.pem -out certificate.pem

/** PEM of a certificate that nobody trusts, and its key. */
export const LOCALHOST = {
	certificate: Buffer.from(`-----BEGIN CERTIFICATE-----
MIIBnDCCAUGgAwIBAgIUOHeDGdMcwziDXDTkbUtOyPRPyY4wCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMzE1NDMwOVoYDzIxMjYxMDMw
MTU0MzA5WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAT/e3ykPCNEBJqiKa8UucBmyJzSnwmhxKOm/TMm2QF7Qsyz0DLO2OW8
h/gCnpx/9c30v9n0VYiGxcTboq3tpfCTo28wbTAdBgNVHQ4EFgQUje7/3WeOqRh5
KMsn0AvbWMi5XKAwHwYDVR0jBBgwFoAUje7/3WeOqRh5KMsn0AvbWMi5XKAwDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI
zj0EAwIDSQAwRgIhAN2EIvNMuioH4JzgM5ivp6tnWL/tVQ7MNhLXZ6JzAj2WAiEA
xmzrx4OxkHPpIieYolyicd234QFpIYC/14oMeUBGwoo=
-----END CERTIFICATE-----
`),
	key: Buffer.from(`-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg+64O0Y0CfRMVlkdp
zXxhlMvR664bbTWBEokRR/9HKpmhRANCAAT/e3ykPCNEBJqiKa8UucBmyJzSnwmh
xKOm/TMm2QF7Qsyz0DLO2OW8h/gCnpx/9c30v9n0VYiGxcTboq3tpfCT
-----END PRIVATE KEY-----
`),
};
