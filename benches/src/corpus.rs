//! Manifests as people write them: Deployments without replicas, ConfigMaps, headless Services and ServiceAccounts in ten
//! namespaces. The same parameters give the same bytes.

use std::fmt::Write as _;

/// How many namespaces the objects are spread over.
pub const NAMESPACES: usize = 10;

/// Which corpus.
#[derive(Clone, Debug)]
pub struct Corpus {
    /// How many objects, not counting their namespaces.
    pub objects: usize,
    /// Where the names of the namespaces begin; another prefix is another set of objects.
    pub prefix: String,
    /// Whether the ten Namespace objects come first.
    pub namespaces: bool,
    /// 0 is the corpus itself; another number changes one object in a hundred (see [`Corpus::is_changed`]).
    pub revision: u32,
}

impl Default for Corpus {
    fn default() -> Self {
        Self {
            objects: 1000,
            prefix: "bench".to_owned(),
            namespaces: true,
            revision: 0,
        }
    }
}

impl Corpus {
    /// Whether a revision other than 0 changes object `i`: one in a hundred, of every kind in turn.
    pub fn is_changed(i: usize) -> bool {
        i % 100 == (i / 100) % 4
    }

    /// How many objects a revision other than 0 changes.
    pub fn changed(&self) -> usize {
        (0..self.objects).filter(|&i| Self::is_changed(i)).count()
    }

    /// How many documents [`Corpus::yaml`] writes.
    pub fn documents(&self) -> usize {
        self.objects + if self.namespaces { NAMESPACES } else { 0 }
    }

    /// The whole corpus as one multi-document text.
    pub fn yaml(&self) -> String {
        let mut out = String::new();
        for document in self.iter() {
            out.push_str("---\n");
            out.push_str(&document);
        }
        out
    }

    /// The documents, one by one, without separators.
    pub fn iter(&self) -> impl Iterator<Item = String> + '_ {
        let namespaces = if self.namespaces { NAMESPACES } else { 0 };
        (0..namespaces)
            .map(|n| namespace(&self.namespace(n)))
            .chain((0..self.objects).map(|i| self.object(i)))
    }

    fn namespace(&self, n: usize) -> String {
        format!("{}-{}", self.prefix, n % NAMESPACES)
    }

    fn object(&self, i: usize) -> String {
        let revision = if Self::is_changed(i) {
            self.revision
        } else {
            0
        };
        // i / 4, so that every namespace holds every kind.
        let namespace = self.namespace(i / 4);
        match i % 4 {
            0 => deployment(&namespace, i, revision),
            1 => config_map(&namespace, i, revision),
            2 => service(&namespace, i, revision),
            _ => service_account(&namespace, i, revision),
        }
    }
}

fn namespace(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n  labels:\n    app.kubernetes.io/part-of: bench\n"
    )
}

fn deployment(namespace: &str, i: usize, revision: u32) -> String {
    format!(
        r#"# The web part of shop {i}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web-{i}
  namespace: {namespace}
  labels:
    app.kubernetes.io/name: web-{i}
    app.kubernetes.io/component: frontend
    app.kubernetes.io/version: "1.{revision}.{i}"
  annotations:
    example.com/owner: 'team-{team}'
    example.com/description: >-
      Serves the pages of shop {i}; asks the catalogue and the basket,
      and keeps nothing itself.
spec:
  replicas: 0
  revisionHistoryLimit: 3
  selector:
    matchLabels:
      app.kubernetes.io/name: web-{i}
  strategy:
    type: RollingUpdate
    rollingUpdate:
      maxSurge: 25%
      maxUnavailable: 0
  template:
    metadata:
      labels:
        app.kubernetes.io/name: web-{i}
        app.kubernetes.io/component: frontend
    spec:
      serviceAccountName: web-{account}
      securityContext:
        runAsNonRoot: true
        runAsUser: 10001
        fsGroup: 10001
      containers:
        - name: web
          image: "registry.example.com/shop/web:1.{revision}.{i}"
          imagePullPolicy: IfNotPresent
          args: ["--listen=:8080", "--log-level=info", "--shop={i}"]
          env:
            - name: SHOP
              value: "{i}"
            - name: POD_NAME
              valueFrom:
                fieldRef:
                  fieldPath: metadata.name
            - name: CATALOGUE_URL
              value: http://catalogue.{namespace}.svc:8080/
          ports:
            - name: http
              containerPort: 8080
            - name: metrics
              containerPort: 9090
          resources:
            requests:
              cpu: 100m
              memory: 128Mi
            limits:
              cpu: "1"
              memory: 512Mi
          readinessProbe:
            httpGet:
              path: /ready
              port: http
            initialDelaySeconds: 2
            periodSeconds: 5
          livenessProbe:
            httpGet:
              path: /live
              port: http
            periodSeconds: 10
          volumeMounts:
            - name: config
              mountPath: /etc/web
              readOnly: true
            - name: tmp
              mountPath: /tmp
        - name: proxy
          image: registry.example.com/shop/proxy:2.7.1
          ports:
            - name: proxy
              containerPort: 15001
          resources:
            requests: {{cpu: 10m, memory: 32Mi}}
      volumes:
        - name: config
          configMap:
            name: web-{config}
            defaultMode: 0644
        - name: tmp
          emptyDir: {{}}
"#,
        team = i % 7,
        account = i + 3,
        config = i + 1,
    )
}

fn config_map(namespace: &str, i: usize, revision: u32) -> String {
    let mut out = format!(
        r#"apiVersion: v1
kind: ConfigMap
metadata:
  name: web-{i}
  namespace: {namespace}
  labels:
    app.kubernetes.io/name: web-{i}
data:
  REVISION: "{revision}"
  FEATURE_NEW_BASKET: "{feature}"
  web.toml: |
    # Settings of shop {i}
    listen = "0.0.0.0:8080"
    [catalogue]
    url = "http://catalogue.{namespace}.svc:8080/"
    timeout_ms = {timeout}
    [cache]
    size = 1024
    shards = [1, 2, 3, 4]
"#,
        feature = i.is_multiple_of(3),
        timeout = 500 + i % 1000,
    );
    for key in 0..8 {
        let _ = writeln!(out, "  setting-{key}.txt: value {key} of shop {i}");
    }
    out
}

fn service(namespace: &str, i: usize, revision: u32) -> String {
    format!(
        r#"apiVersion: v1
kind: Service
metadata:
  name: web-{i}
  namespace: {namespace}
  labels:
    app.kubernetes.io/name: web-{i}
  annotations:
    example.com/revision: "{revision}"
spec:
  clusterIP: None
  selector:
    app.kubernetes.io/name: web-{selected}
  ports:
    - name: http
      port: 80
      targetPort: http
    - name: metrics
      port: 9090
      targetPort: metrics
"#,
        selected = i - 2,
    )
}

fn service_account(namespace: &str, i: usize, revision: u32) -> String {
    format!(
        r#"apiVersion: v1
kind: ServiceAccount
metadata:
  name: web-{i}
  namespace: {namespace}
  labels:
    app.kubernetes.io/name: web-{i}
  annotations:
    example.com/revision: "{revision}"
automountServiceAccountToken: false
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_parameters_give_the_same_bytes() {
        let corpus = Corpus::default();
        assert_eq!(corpus.yaml(), corpus.yaml());
        assert_eq!(corpus.iter().count(), corpus.documents());
        assert_eq!(corpus.documents(), 1010);
    }

    #[test]
    fn a_revision_changes_one_object_in_a_hundred_of_every_kind() {
        let before = Corpus::default();
        let after = Corpus {
            revision: 1,
            ..Corpus::default()
        };
        let changed: Vec<String> = before
            .iter()
            .zip(after.iter())
            .filter(|(a, b)| a != b)
            .map(|(_, b)| b)
            .collect();
        assert_eq!(changed.len(), 10);
        assert_eq!(changed.len(), before.changed());
        for kind in ["Deployment", "ConfigMap", "Service", "ServiceAccount"] {
            assert!(
                changed
                    .iter()
                    .any(|d| d.lines().any(|l| l == format!("kind: {kind}"))),
                "no {kind} changed"
            );
        }
    }
}
