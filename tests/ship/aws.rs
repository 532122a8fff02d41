//! Calls to moto for what the lab itself needs none: EC2's and CloudFormation's query protocol, EFS's REST.

use lab::{
    Error, http,
    network::{GATEWAYS, MOTO_PORT},
};
use serde_json::Value;
use std::fmt::Write;

/// Where moto is.
pub(crate) fn endpoint() -> String {
    format!("http://{}:{MOTO_PORT}", GATEWAYS[0])
}

/// moto routes by the credential's scope, and checks no signature.
fn authorization(service: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential=lab/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=none"
    )
}

/// A call of the query protocol. Gives the answer's XML.
pub(crate) fn query(service: &str, version: &str, parameters: &[(&str, &str)]) -> Result<String, Error> {
    let mut body = format!("Version={version}");
    for (name, value) in parameters {
        // Writing to a string can't fail.
        let _ = write!(body, "&{}={}", encoded(name), encoded(value));
    }
    let headers = [
        ("authorization", &*authorization(service)),
        ("content-type", "application/x-www-form-urlencoded"),
        // moto tells services of the query protocol apart by the host too.
        ("host", &format!("{service}.us-east-1.amazonaws.com")),
    ];
    Ok(http::succeed("POST", &format!("{}/", endpoint()), &headers, body.as_bytes())?.body)
}

/// A call to EC2.
pub(crate) fn ec2(parameters: &[(&str, &str)]) -> Result<String, Error> {
    query("ec2", "2016-11-15", parameters)
}

/// A call to CloudFormation.
pub(crate) fn cloudformation(parameters: &[(&str, &str)]) -> Result<String, Error> {
    query("cloudformation", "2010-05-15", parameters)
}

/// A call to EFS.
pub(crate) fn efs(method: &str, path: &str) -> Result<Value, Error> {
    let authorization = authorization("elasticfilesystem");
    let url = format!("{}/2015-02-01/{path}", endpoint());
    Ok(http::succeed(method, &url, &[("authorization", &authorization)], &[])?.json())
}

/// The texts of all elements of a name, in their order.
pub(crate) fn elements(xml: &str, name: &str) -> Vec<String> {
    let (begin, end) = (format!("<{name}>"), format!("</{name}>"));
    xml.split(begin.as_str())
        .skip(1)
        .filter_map(|rest| Some(rest.split_once(end.as_str())?.0.to_owned()))
        .collect()
}

/// Percent-encoded: all but what RFC 3986 calls unreserved.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string can't fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}
