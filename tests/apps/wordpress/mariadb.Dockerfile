# As docker-library/mariadb.
FROM applications
RUN rm -rf /var/lib/mysql \
    && mkdir -p /var/lib/mysql /run/mysqld \
    && chown -R mysql:mysql /var/lib/mysql /run/mysqld \
    && chmod 1777 /run/mysqld
COPY wordpress/mariadb-entrypoint /entrypoint
VOLUME /var/lib/mysql
ENTRYPOINT ["/entrypoint"]
CMD ["mariadbd", "--bind-address=0.0.0.0", "--innodb-buffer-pool-size=64M", "--performance-schema=off", "--skip-name-resolve"]
