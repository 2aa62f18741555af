//! The gateway: where it runs, who reaches it, and what it may.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{configuration, name, of_kind, render, rules, words};

fn deployments(objects: &[Value]) -> Vec<(&str, String)> {
    of_kind(objects, &["Deployment"])
        .map(|object| {
            let pod = &object["spec"]["template"]["spec"];
            (name(object), pod["containers"][0]["args"][2].as_str().unwrap().to_owned())
        })
        .collect()
}

#[test]
fn without_a_gateway_nothing_of_it_is_made() {
    let objects = render("socket", &[]).unwrap();
    assert_eq!(deployments(&objects), [("berth", "--role=all".to_owned())]);
    assert_eq!(of_kind(&objects, &["Service"]).map(name).collect::<Vec<_>>(), ["berth"]);
    assert_eq!(of_kind(&objects, &["APIService", "Ingress"]).count(), 0);
    for (role, rule) in rules(&objects) {
        assert!(!words(&rule["apiGroups"]).contains("subresources.berth.dev"), "{role}");
        let secrets = words(&rule["resources"]).contains("secrets");
        assert!(!secrets || role == "berth-references", "{role}");
    }
}

#[rstest::rstest]
#[case::in_the_operators_pods("All", &[("berth", "--role=all")])]
#[case::in_pods_of_its_own(
    "Separate",
    &[("berth-controller", "--role=controller"), ("berth-gateway", "--role=gateway")]
)]
fn the_gateway_runs_where_that_was_asked_for(#[case] mode: &str, #[case] expected: &[(&str, &str)]) {
    let objects = render("separate", &[&format!("gateway.mode={mode}")]).unwrap();
    let expected: Vec<_> = expected.iter().map(|(name, role)| (*name, (*role).to_owned())).collect();
    assert_eq!(deployments(&objects), expected);
}

/// Each Service must find Pods that have the port it leads to.
#[test]
fn services_lead_to_pods_that_listen() {
    for (values, changes) in [("full", vec![]), ("separate", vec![]), ("separate", vec!["gateway.mode=All"])]
    {
        let objects = render(values, &changes).unwrap();
        for service in of_kind(&objects, &["Service"]) {
            let selector = service["spec"]["selector"].as_object().unwrap();
            let wanted = &service["spec"]["ports"][0]["targetPort"];
            let mut found = 0;
            for deployment in of_kind(&objects, &["Deployment"]) {
                let template = &deployment["spec"]["template"];
                let labels = &template["metadata"]["labels"];
                if selector.iter().all(|(key, value)| labels[key] == *value) {
                    let ports = template["spec"]["containers"][0]["ports"].as_array().unwrap();
                    assert!(
                        ports.iter().any(|port| port["name"] == *wanted),
                        "{values}: {} and {wanted}",
                        name(service)
                    );
                    found += 1;
                }
            }
            assert!(found > 0, "{values}: {} finds nothing", name(service));
        }
    }
}

#[test]
fn the_gateways_own_pods_have_no_credentials_of_backends() {
    let changes = ["backendSecrets[0].secretName=docker-host", "gateway.tlsSecretName=public"];
    let objects = render("separate", &changes).unwrap();
    let volumes = |wanted: &str| -> BTreeSet<String> {
        let deployment = of_kind(&objects, &["Deployment"]).find(|object| name(object) == wanted).unwrap();
        let volumes = deployment["spec"]["template"]["spec"]["volumes"].as_array().unwrap();
        volumes.iter().map(|volume| volume["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(volumes("berth-gateway"), ["config", "gateway-tls"].map(str::to_owned).into());
    let controller = ["backend-docker-host", "config", "docker-socket"].map(str::to_owned);
    assert_eq!(volumes("berth-controller"), controller.into());
}

/// Everything that the gateway's own ServiceAccount is given, as `verb group/resource/name`.
#[test]
fn the_gateways_own_rights_are_few() {
    let objects = render("separate", &["config.instance=i"]).unwrap();
    let bound: BTreeSet<&str> = of_kind(&objects, &["RoleBinding", "ClusterRoleBinding"])
        .filter(|binding| {
            let subjects = binding["subjects"].as_array().unwrap();
            subjects.iter().any(|subject| subject["name"] == "berth-gateway")
        })
        .map(|binding| binding["roleRef"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        bound,
        BTreeSet::from(["berth-gateway", "berth-reviews", "extension-apiserver-authentication-reader"])
    );
    let mut rights: Vec<String> = Vec::new();
    for (_, rule) in rules(&objects).into_iter().filter(|(role, _)| bound.contains(role)) {
        let names: Vec<_> = words(&rule["resourceNames"]).into_iter().collect();
        for (resource, verb) in words(&rule["resources"])
            .into_iter()
            .flat_map(|resource| words(&rule["verbs"]).into_iter().map(move |verb| (resource, verb)))
        {
            rights.push(format!("{verb} {resource} {}", names.join(",")).trim_end().to_owned());
        }
    }
    rights.sort();
    assert_eq!(
        rights,
        [
            "create subjectaccessreviews",
            "create tokenreviews",
            "get leases berth",
            "get secrets berth-gateway,berth-keys",
            "list devservers",
            "list workspaces",
            "watch devservers",
            "watch workspaces",
        ]
    );
}

#[test]
fn the_aggregated_api_is_switched_off_whole() {
    let objects = render("separate", &["aggregatedAPI.enabled=false"]).unwrap();
    assert_eq!(of_kind(&objects, &["APIService"]).count(), 0);
    assert!(!of_kind(&objects, &["Service"]).any(|service| name(service) == "berth-aggregated"));
    assert!(!of_kind(&objects, &["RoleBinding"]).any(|one| one["metadata"]["namespace"] == "kube-system"));
    assert!(configuration(&objects).gateway.unwrap().aggregated.is_none());
}

/// The operator makes the authority: what Helm wrote over it would break the API until it is back.
#[test]
fn the_apiservice_names_the_service_and_leaves_the_authority_to_the_operator() {
    let objects = render("full", &[]).unwrap();
    let api = of_kind(&objects, &["APIService"]).next().unwrap();
    let service = api["spec"]["service"]["name"].as_str().unwrap();
    assert!(api["spec"]["caBundle"].is_null() && api["spec"]["insecureSkipTLSVerify"].is_null());
    let aggregated = configuration(&objects).gateway.unwrap().aggregated.unwrap();
    assert_eq!((aggregated.service.as_str(), aggregated.listen.port()), (service, 9443));
    assert_eq!(of_kind(&objects, &["Service"]).filter(|one| name(one) == service).count(), 1);
}

/// A role that only looks gives no shell, no file, and no request to an application.
#[test]
fn people_get_what_their_role_is_for() {
    let objects = render("separate", &[]).unwrap();
    let rights = |wanted: &str| -> BTreeSet<(String, String)> {
        rules(&objects)
            .into_iter()
            .filter(|(role, rule)| {
                *role == wanted && words(&rule["apiGroups"]).contains("subresources.berth.dev")
            })
            .flat_map(|(_, rule)| {
                let verbs = words(&rule["verbs"]);
                words(&rule["resources"])
                    .into_iter()
                    .flat_map(|resource| {
                        verbs.iter().map(|verb| (resource.to_owned(), (*verb).to_owned())).collect::<Vec<_>>()
                    })
                    .collect::<Vec<_>>()
            })
            .collect()
    };
    let (view, edit, admin) = (rights("berth-view"), rights("berth-edit"), rights("berth-admin"));
    assert!(view.iter().all(|(resource, verb)| {
        let closed = ["exec", "attach", "portforward", "proxy", "files", "terminals"];
        ["get", "watch"].contains(&verb.as_str()) && !closed.iter().any(|part| resource.contains(part))
    }));
    assert!(view.is_subset(&edit));
    let more: Vec<_> = admin.difference(&edit).collect();
    let right = |name: &str, verb: &str| (format!("workspaces/{name}"), verb.to_owned());
    let root = [right("exec-root", "create"), right("exec-root", "watch"), right("reset-host-key", "create")];
    assert_eq!(more, root.iter().collect::<Vec<_>>());
    // Each right is one that the API has.
    use berth::gateway::api::operation::Resource;
    for resource in [Resource::Workspaces, Resource::DevServers] {
        for known in resource.subresources() {
            let name = format!("{}/{}", resource.word(), known.name);
            let granted: BTreeSet<_> =
                admin.iter().filter(|(one, _)| *one == name).map(|(_, verb)| verb.as_str()).collect();
            assert_eq!(granted, known.verbs.iter().copied().collect(), "{name}");
        }
    }
}
